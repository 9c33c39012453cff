"""COCO instance annotations: one JSON with polygons or run-length encodings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
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
from mask2former.files import LARGEST, read_json
from mask2former.structures import Sample, TrueInstance, Truth


class Picture(NamedTuple):
    """One entry of `images`."""

    id: int
    file: Path
    size: tuple[int, int]  # height, width


class CocoInstances(Dataset):
    """Pictures in a folder with COCO's instance JSON.

    `categories` gives the order of the labels where it is not the file's own (a trained model's).
    Masks stay JSON text, one string a picture, until somebody asks for them.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        categories: Categories | None = None,
        listener: Listener = STRICT,
    ) -> None:
        path = Path(annotations)
        document = read_json(path)
        self.annotations = path
        self.categories = read_categories(document, path, categories)
        self._listener = listener
        self._pictures = read_pictures(document, Path(images), path, listener)
        self.is_labelled = document.get("annotations") is not None
        self._objects, self.notes = _pack_objects(
            document, self._pictures, self.categories, path, listener
        )

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
        objects = [found for found in self._instances(index) if not found.is_crowd]
        layers, kept = paint_layers([found.rle for found in objects], picture.size)
        labels = [objects[k].label for k in kept]
        return as_sample(image[None], layers[:, None], labels, picture.file.name)

    def labels(self, index: int) -> list[int]:
        objects = json.loads(self._objects[index])  # no mask is made
        return [label for _, label, _, is_crowd, _ in objects if not is_crowd]

    def truth(self, index: int) -> Truth:
        return Truth(self._pictures[index].size, instances=list(self._instances(index)))

    def _instances(self, index: int) -> Iterator[TrueInstance]:
        demand_labels(self, self.annotations)
        for number, label, area, is_crowd, shape in json.loads(self._objects[index]):
            name = f"{self.annotations}: annotation {number}"
            mask = read_mask(shape, self._pictures[index].size, name)
            covered = 0 if mask is None else rle.area(mask)
            if not covered:
                sentence = f"{name} covers no pixel of its picture and is left out"
                self._listener.skip(self.annotations, f"annotation {number}", sentence)
            if mask is not None:
                area = covered if area is None else area
                yield TrueInstance(mask, label, area, is_crowd)


def read_categories(document: Entry, path: Path, wanted: Categories | None = None) -> Categories:
    """Read `categories`, in the file's order or in that of the wanted classes."""
    entries = section(document, "categories", path)
    for entry in entries:
        demand(entry, ("id", "name"), "a category", path)
    try:
        found = Categories.from_json(entries)
        return found if wanted is None else found.in_order_of(wanted)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_pictures(
    document: Entry, folder: Path, path: Path, listener: Listener = STRICT
) -> list[Picture]:
    """Read `images` and check that every file is there."""
    pictures = []
    for entry in section(document, "images", path):
        try:
            pictures.append(_read_entry(entry, folder, path))
        except ValueError as error:
            listener.fault(path, place_of(entry, "image"), error)
    check_unique((picture.id for picture in pictures), "image", path, listener)
    missing = check_files_exist((picture.file for picture in pictures), path, listener)
    return [picture for picture in pictures if picture.file not in missing]


def _read_entry(entry: Entry, folder: Path, path: Path) -> Picture:
    demand(entry, ("id", "file_name", "height", "width"), "an image", path)
    size = entry["height"], entry["width"]
    if size[0] * size[1] > LARGEST:
        raise ValueError(
            f"{path}: image {entry['id']} is said to be {size[1]} x {size[0]} pixels, more "
            "than can be read; mend its height and width"
        )
    return Picture(entry["id"], folder / own_path(entry["file_name"]), size)


def own_path(name: str) -> str:
    """A file's path below its folder; of one on another machine (C:\\..., /..., ../) the name."""
    path = name.replace("\\", "/")
    is_theirs = path.startswith(("/", "../")) or path[1:3] == ":/"
    return PurePosixPath(path).name if is_theirs else path


def read_picture(picture: Picture, path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """The pixels (H, W, C) of a picture, if it is as large as its annotation in `path` says."""
    image = read(picture.file)
    check_size(picture, image, path)
    return image


def check_size(picture: Picture, pixels: np.ndarray, path: Path) -> None:
    """Raise a ValueError where the picture is not as large as its annotation says."""
    if pixels.shape[:2] != picture.size:
        found, said = (f"{width} x {height}" for height, width in (pixels.shape[:2], picture.size))
        raise ValueError(f"{picture.file}: the file is {found} pixels, but {path} says {said}")


def check_shape(shape: Any, size: tuple[int, int], name: str) -> bool:
    """Whether a `segmentation` may cover a pixel; ValueError where it has no form that can be read.

    `name` is whose it is.
    """
    try:
        shape = _without_lines(shape)
        return shape != [] and rle.may_cover(shape, *size)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def read_mask(shape: Any, size: tuple[int, int], name: str) -> dict | None:
    """The run-length encoding of a `segmentation`; None where it has no area."""
    shape = _without_lines(shape)
    if not shape:
        return None
    try:
        return rle.from_annotation(shape, *size)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _without_lines(shape: Any) -> Any:
    """Polygons without those of one or two points: they have no area, and so are no masks."""
    if not isinstance(shape, list):
        return shape
    return [part for part in shape if not (isinstance(part, list) and len(part) in (0, 2, 4))]


def paint_layers(masks: Sequence[dict], size: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """Paint masks as ids 1, 2, ... into as few layers (L, H, W) int32 as first fit finds.

    Masks without a pixel get no id; the second value tells which masks were kept.
    """
    layers = [np.zeros(size, np.int32)]
    kept: list[int] = []
    for index, mask in enumerate(masks):
        left, top, width, height = (int(side) for side in rle.box(mask))
        window = np.s_[top : top + height, left : left + width]
        inside = rle.decode(mask)[window]
        if not inside.any():
            continue
        kept.append(index)
        free = (layer for layer in layers if not layer[window][inside].any())
        layer = next(free, None)
        if layer is None:
            layer = np.zeros(size, np.int32)
            layers.append(layer)
        layer[window][inside] = len(kept)
    return np.stack(layers), kept


def _pack_objects(
    document: Entry,
    pictures: list[Picture],
    categories: Categories,
    path: Path,
    listener: Listener,
) -> tuple[list[bytes], list[str]]:
    """Check `annotations` and store, for each picture, its objects as a line of JSON; and notes."""
    if document.get("annotations") is None:  # a benchmark's own split
        return [], []
    entries = section(document, "annotations", path)
    place_of_id = {picture.id: place for place, picture in enumerate(pictures)}
    left_out = ids_left_out(document["images"], place_of_id)
    objects: list[list] = [[] for _ in pictures]
    empty: list[int] = []
    for entry in entries:
        if left_out and str(entry.get("image_id")) in left_out:
            continue
        try:
            place, label = _check_object(entry, place_of_id, categories, path)
            name, shape = f"{path}: annotation {entry['id']}", entry["segmentation"]
            if check_shape(shape, pictures[place].size, name):
                is_crowd = bool(entry.get("iscrowd", 0))
                objects[place].append((entry["id"], label, entry.get("area"), is_crowd, shape))
            else:
                empty.append(entry["id"])
                where, sentence = (
                    f"annotation {entry['id']}",
                    f"{name} has no area inside its picture",
                )
                listener.skip(path, where, f"{sentence} and is left out")
        except ValueError as error:
            listener.fault(path, place_of(entry, "annotation"), error)
    check_unique(sound_ids(entries), "annotation", path, listener)
    notes = _note_empty(empty, len(entries), path, listener)
    return [json.dumps(found).encode() for found in objects], notes


def _check_object(
    entry: Entry, place_of_id: dict[int, int], categories: Categories, path: Path
) -> tuple[int, int]:
    """The place of an annotation's picture in the list of pictures, and its label."""
    demand(entry, ("id", "image_id", "category_id", "segmentation"), "an annotation", path)
    name = f"{path}: annotation {entry['id']}"
    place = place_of_id.get(entry["image_id"])
    if place is None:
        raise ValueError(f"{name} is of image {entry['image_id']}, which 'images' does not list")
    return place, label_of(entry, categories, name)


def _note_empty(empty: list[int], count: int, path: Path, listener: Listener) -> list[str]:
    if not empty:
        return []
    if len(empty) == count:
        sentence = (
            f"{path}: none of its {count} annotations covers a pixel of its picture; are these "
            "boxes or points without masks?"
        )
        listener.fault(path, "annotations", ValueError(sentence))
    note = f"{path}: {len(empty)} of {count} annotations have no area inside their picture and are"
    return [f"{note} left out, the first is annotation {empty[0]}"]
