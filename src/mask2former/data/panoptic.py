"""COCO panoptic annotations: one JSON and a folder of PNG files whose colours are segment ids."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data.coco import (
    Picture,
    check_size,
    read_categories,
    read_picture,
    read_pictures,
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
)
from mask2former.data.listener import STRICT, Listener
from mask2former.faults import shorten
from mask2former.files import read_json, read_panoptic_ids
from mask2former.structures import IGNORE, Sample, TrueInstance, TrueSegment, Truth


class SegmentMap(NamedTuple):
    """One entry of `annotations`: a PNG file and what its ids mean."""

    file: Path
    segments: list[TrueSegment]


class CocoPanoptic(Dataset):
    """Pictures in a folder with COCO's panoptic JSON and PNG files.

    `labels` is the folder of the PNG files: the JSON's path without its ending, unless given.
    `categories` gives the order of the labels where it is not the file's own (a trained model's).
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        labels: str | Path | None = None,
        *,
        categories: Categories | None = None,
        listener: Listener = STRICT,
    ) -> None:
        path = Path(annotations)
        document = read_json(path)
        self.annotations = path
        self.categories = read_categories(document, path, categories)
        pictures = read_pictures(document, Path(images), path, listener)
        self.is_labelled = document.get("annotations") is not None
        if not self.is_labelled:
            self._pictures, self._maps = pictures, []
            return
        folder = path.with_suffix("") if labels is None else Path(labels)
        entry_of = _entry_of_each(document, pictures, path, listener)
        map_of = {
            number: SegmentMap(folder / entry["file_name"], segments)
            for number, entry in entry_of.items()
            if (segments := _read_segments(entry, self.categories, path, listener)) is not None
        }
        missing = check_files_exist((one.file for one in map_of.values()), path, listener)
        self._pictures = [
            p for p in pictures if p.id in map_of and map_of[p.id].file not in missing
        ]
        self._maps = [map_of[picture.id] for picture in self._pictures]

    def __len__(self) -> int:
        return len(self._pictures)

    def file(self, index: int) -> Path:
        return self._pictures[index].file

    def image_id(self, index: int) -> int:
        return self._pictures[index].id

    def image(self, index: int) -> np.ndarray:
        return read_picture(self._pictures[index], self.annotations, self.read)

    def sample(self, index: int) -> Sample:
        picture, image = self._pictures[index], self.image(index)
        places, segments = self._read_places(index)
        areas = np.bincount(places.ravel(), minlength=len(segments) + 1)[1:]
        targets = [i for i, s in enumerate(segments) if areas[i] and not s.is_crowd]
        number_of_place = np.zeros(len(segments) + 1, np.int32)
        number_of_place[np.array(targets, int) + 1] = np.arange(1, len(targets) + 1)
        ids = number_of_place[places]
        labels = [segments[i].label for i in targets]
        return as_sample(image[None], ids[None, None], labels, picture.file.name)

    def class_map(self, index: int) -> np.ndarray:
        return _label_places(*self._read_places(index))

    def truth(self, index: int) -> Truth:
        places, segments = self._read_places(index)
        ids = np.array([0, *(s.id for s in segments)], np.int32)
        things = [
            TrueInstance(rle.encode(places == place), s.label, s.area, s.is_crowd)
            for place, s in enumerate(segments, start=1)
            if self.categories[s.label].is_thing
        ]
        return Truth(
            self._pictures[index].size,
            semantic=_label_places(places, segments),
            instances=things,
            panoptic=ids[places],
            segments=segments,
        )

    def _read_places(self, index: int) -> tuple[np.ndarray, list[TrueSegment]]:
        """Read the PNG as (H, W): 0 is void, i + 1 the i-th of the segments."""
        demand_labels(self, self.annotations)
        file, segments = self._maps[index]
        ids = read_panoptic_ids(file)
        check_size(self._pictures[index]._replace(file=file), ids, self.annotations)
        known = np.array([0, *(segment.id for segment in segments)], np.int32)
        order = np.argsort(known)
        places = order[np.searchsorted(known, ids, sorter=order).clip(max=len(segments))]
        strange = ids[known[places] != ids]
        if strange.size:
            raise ValueError(f"{file}: segment {strange[0]} is not described in {self.annotations}")
        return places, segments


def _label_places(places: np.ndarray, segments: list[TrueSegment]) -> np.ndarray:
    """The labels (H, W) of a map of places: 0 is void, i + 1 the i-th of the segments."""
    return np.array([IGNORE, *(s.label for s in segments)], np.int16)[places]


def _entry_of_each(
    document: Entry, pictures: list[Picture], path: Path, listener: Listener
) -> dict[int, Entry]:
    """The annotation of every picture, by the picture's id."""
    known = {picture.id for picture in pictures}
    left_out = ids_left_out(document["images"], known)
    entries = []
    for entry in section(document, "annotations", path):
        try:
            demand(entry, ("image_id", "file_name", "segments_info"), "an annotation", path)
            section(entry, "segments_info", path)
            if entry["image_id"] in known:
                entries.append(entry)
            elif str(entry["image_id"]) not in left_out:
                raise ValueError(
                    f"{path}: image {entry['image_id']} has an annotation but is not in 'images'"
                )
        except ValueError as error:
            listener.fault(path, place_of(entry, "annotation of image", "image_id"), error)
            left_out.add(str(entry.get("image_id")))
    check_unique((entry["image_id"] for entry in entries), "annotation of image", path, listener)
    entry_of = {entry["image_id"]: entry for entry in entries}
    bare = sorted((i for i in known - entry_of.keys() if str(i) not in left_out), key=str)
    for number in bare:
        sentence = (
            f"{path}: {len(bare)} images have no annotation, for one {number}; take them out of "
            "'images', or annotate them"
        )
        listener.fault(path, f"image {number}", ValueError(sentence))
    return entry_of


def _read_segments(
    entry: Entry, categories: Categories, path: Path, listener: Listener
) -> list[TrueSegment] | None:
    """Read `segments_info` in its order, by which panoptic quality chooses among crowds.

    None where a segment is faulty and the listener goes on: the whole map is then left out.
    """
    segments, file = [], shorten(entry["file_name"], 120)
    described = entry["segments_info"]
    for segment in described:
        try:
            segments.append(_read_segment(segment, file, categories, path))
        except ValueError as error:
            listener.fault(path, f"{place_of(segment, 'segment')} of {file}", error)
    check_unique((segment.id for segment in segments), f"{file}: segment", path, listener)
    return segments if len(segments) == len(described) else None


def _read_segment(segment: Entry, file: str, categories: Categories, path: Path) -> TrueSegment:
    demand(segment, ("id", "category_id", "area"), f"{file}: a segment", path)
    name = f"{path}: segment {segment['id']} of {file}"
    label = label_of(segment, categories, name)
    if not isinstance(segment["id"], int) or not 0 < segment["id"] < 2**24:
        raise ValueError(f"{name}: ids start at 1, since 0 is void, and end at 2**24 - 1")
    return TrueSegment(segment["id"], label, segment["area"], bool(segment.get("iscrowd", 0)))
