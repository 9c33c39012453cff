"""YouTube-VIS annotations: one JSON with, for every object, a mask a frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data.coco import (
    Picture,
    check_shape,
    paint_layers,
    read_categories,
    read_mask,
    read_picture,
)
from mask2former.data.dataset import Dataset, as_sample, check_files_exist, demand_labels
from mask2former.data.entries import (
    Entry,
    check_unique,
    demand,
    ids_left_out,
    label_of,
    place_of,
    section,
    sound_ids,
)
from mask2former.data.listener import STRICT, Listener
from mask2former.files import read_json
from mask2former.structures import Sample, TrueInstance, Truth


class Video(NamedTuple):
    """One entry of `videos`."""

    id: int
    frames: list[Path]
    size: tuple[int, int]  # height, width


class YouTubeVIS(Dataset):
    """Videos as folders of frames with the JSON of YouTube-VIS; a training sample is a clip.

    A clip is a frame drawn from the whole video and `frames` - 1 others at most `reach` away, in
    the order of time. Where there are fewer, the first one drawn is repeated. `truth` and `image`
    are of all frames; masks lie side by side there, as video metrics read them.
    """

    varies = True

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        frames: int = 2,
        reach: int = 20,
        categories: Categories | None = None,
        listener: Listener = STRICT,
    ) -> None:
        path = Path(annotations)
        document = read_json(path)
        self.annotations = path
        self.categories = read_categories(document, path, categories)
        self._frames, self._reach = frames, reach
        self._folder = Path(images)
        self._videos = _read_videos(document, self._folder, path, listener)
        self.is_labelled = document.get("annotations") is not None
        self._objects = _pack_objects(document, self._videos, self.categories, path, listener)

    def __len__(self) -> int:
        return len(self._videos)

    def select(self, indices: Iterable[int]) -> Self:
        """Some of the videos, which keep their numbers in the benchmark."""
        chosen, indices = copy(self), tuple(indices)
        chosen._videos = [self._videos[i] for i in indices]
        chosen._objects = [self._objects[i] for i in indices]
        return chosen

    def image_id(self, index: int) -> int:
        """The number of a video."""
        return self._videos[index].id

    def file(self, index: int) -> Path:
        first = self._videos[index].frames[0]
        return first if first.parent == self._folder else first.parent

    def image(self, index: int) -> np.ndarray:
        return self._read(index, range(len(self._videos[index].frames)))

    def sample(self, index: int) -> Sample:
        video = self._videos[index]
        chosen = draw_frames(len(video.frames), self._frames, self._reach)
        objects = [found for found in self._instances(index, chosen) if not found.is_crowd]
        height, width = video.size
        layers, kept = paint_layers([found.rle for found in objects], (height, len(chosen) * width))
        ids = layers.reshape(-1, height, len(chosen), width).swapaxes(1, 2)
        # Who is in one of the frames is a target of its class. The official reader takes classes
        # from the last frame's records, and so trains who has left by then as no object.
        labels = [objects[k].label for k in kept]
        return as_sample(self._read(index, chosen), ids, labels, self.file(index).name)

    def truth(self, index: int) -> Truth:
        video = self._videos[index]
        height, width = video.size
        everything = range(len(video.frames))
        return Truth(
            (height, len(everything) * width),
            instances=list(self._instances(index, everything)),
        )

    def _read(self, index: int, chosen: Sequence[int]) -> np.ndarray:
        number, files, size = self._videos[index]
        pictures = [Picture(number, files[frame], size) for frame in chosen]
        return np.stack(
            [read_picture(picture, self.annotations, self.read) for picture in pictures]
        )

    def _instances(self, index: int, chosen: Sequence[int]) -> Iterator[TrueInstance]:
        """The objects with their masks in the chosen frames, side by side."""
        demand_labels(self, self.annotations)
        size = self._videos[index].size
        for number, label, areas, is_crowd, shapes in json.loads(self._objects[index]):
            name = f"{self.annotations}: annotation {number}"
            mask = np.zeros((len(chosen), *size), bool)
            for place, frame in enumerate(chosen):
                found = read_mask(shapes[frame] or [], size, name)
                if found is not None:
                    mask[place] = rle.decode(found)
            seen = [area for area in areas or () if area]
            area = float(np.mean(seen)) if seen else rle.mean_area(mask)
            yield TrueInstance(rle.encode_clip(mask), label, area, is_crowd)


def draw_frames(length: int, count: int, reach: int) -> list[int]:
    """Draw the frames of a clip from a video of `length`, in the order of time."""
    first = int(torch.randint(length, ()))
    near = [*range(max(0, first - reach), first), *range(first + 1, min(length, first + reach + 1))]
    others = [near[place] for place in torch.randperm(len(near)).tolist()]
    return sorted([first, *(others + [first] * count)[: count - 1]])


def _read_videos(document: Entry, folder: Path, path: Path, listener: Listener) -> list[Video]:
    """Read `videos` and check that every frame is there."""
    videos = []
    for entry in section(document, "videos", path):
        try:
            demand(entry, ("id", "file_names", "height", "width"), "a video", path)
            if not entry["file_names"]:
                raise ValueError(f"{path}: video {entry['id']} has no frame")
        except ValueError as error:
            listener.fault(path, place_of(entry, "video"), error)
            continue
        frames = [folder / name for name in entry["file_names"]]
        videos.append(Video(entry["id"], frames, (entry["height"], entry["width"])))
    check_unique((video.id for video in videos), "video", path, listener)
    frames = (frame for video in videos for frame in video.frames)
    missing = check_files_exist(frames, path, listener)
    return [video for video in videos if missing.isdisjoint(video.frames)]


def _pack_objects(
    document: Entry,
    videos: list[Video],
    categories: Categories,
    path: Path,
    listener: Listener,
) -> list[bytes]:
    """Check `annotations` and store, for each video, its objects as a line of JSON."""
    entries = [] if document.get("annotations") is None else section(document, "annotations", path)
    place_of_id = {video.id: place for place, video in enumerate(videos)}
    left_out = ids_left_out(document["videos"], place_of_id)
    objects: list[list] = [[] for _ in videos]
    for entry in entries:
        if left_out and str(entry.get("video_id")) in left_out:
            continue
        try:
            place, label = _check_object(entry, videos, place_of_id, categories, path)
        except ValueError as error:
            listener.fault(path, place_of(entry, "annotation"), error)
            continue
        is_crowd = bool(entry.get("iscrowd", 0))
        shapes = entry["segmentations"]
        if not any(shapes):
            sentence = f"{path}: annotation {entry['id']} is seen in no frame and is left out"
            listener.skip(path, place_of(entry, "annotation"), sentence)
        objects[place].append((entry["id"], label, entry.get("areas"), is_crowd, shapes))
    check_unique(sound_ids(entries), "annotation", path, listener)
    return [json.dumps(found).encode() for found in objects]


def _check_object(
    entry: Entry,
    videos: list[Video],
    place_of_id: dict[int, int],
    categories: Categories,
    path: Path,
) -> tuple[int, int]:
    """The place of an annotation's video in the list of videos, and its label."""
    demand(entry, ("id", "video_id", "category_id", "segmentations"), "an annotation", path)
    name = f"{path}: annotation {entry['id']}"
    place = place_of_id.get(entry["video_id"])
    if place is None:
        raise ValueError(f"{name} is of video {entry['video_id']}, which 'videos' does not list")
    label = label_of(entry, categories, name)
    shapes, video = entry["segmentations"], videos[place]
    if not isinstance(shapes, list) or len(shapes) != len(video.frames):
        count = len(shapes) if isinstance(shapes, list) else "no list of"
        raise ValueError(
            f"{name} has {count} segmentations, but its video has {len(video.frames)} frames; "
            "write one a frame, and null where the object is not seen"
        )
    for shape in filter(None, shapes):
        check_shape(shape, video.size, name)
    return place, label
