"""COCO instance annotations: one JSON with polygons or run-length encodings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data.dataset import Dataset, as_sample, check_files_exist
from mask2former.data.entries import Entry, check_unique, demand, label_of, section
from mask2former.files import LARGEST, read_image, read_json
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
        self, images: str | Path, annotations: str | Path, *, categories: Categories | None = None
    ) -> None:
        path = Path(annotations)
        document = read_json(path)
        self.annotations = path
        self.categories = read_categories(document, path, categories)
        self._pictures = read_pictures(document, Path(images), path)
        self._objects, self.notes = _pack_objects(document, self._pictures, self.categories, path)

    def __len__(self) -> int:
        return len(self._pictures)

    def file(self, index: int) -> Path:
        return self._pictures[index].file

    def image(self, index: int) -> np.ndarray:
        return read_picture(self._pictures[index], self.annotations)

    def sample(self, index: int) -> Sample:
        picture, image = self._pictures[index], self.image(index)
        objects = [found for found in self._instances(index) if not found.is_crowd]
        layers, kept = paint_layers([found.rle for found in objects], picture.size)
        labels = [objects[k].label for k in kept]
        return as_sample(image[None], layers[:, None], labels, picture.file.name)

    def truth(self, index: int) -> Truth:
        return Truth(self._pictures[index].size, instances=list(self._instances(index)))

    def _instances(self, index: int) -> Iterator[TrueInstance]:
        for number, label, area, is_crowd, shape in json.loads(self._objects[index]):
            name = f"{self.annotations}: annotation {number}"
            mask = read_mask(shape, self._pictures[index].size, name)
            if mask is not None:
                area = rle.area(mask) if area is None else area
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


def read_pictures(document: Entry, folder: Path, path: Path) -> list[Picture]:
    """Read `images` and check that every file is there."""
    pictures = []
    for entry in section(document, "images", path):
        demand(entry, ("id", "file_name", "height", "width"), "an image", path)
        size = entry["height"], entry["width"]
        if size[0] * size[1] > LARGEST:
            raise ValueError(
                f"{path}: image {entry['id']} is said to be {size[1]} x {size[0]} pixels, more "
                "than can be read; mend its height and width"
            )
        pictures.append(Picture(entry["id"], folder / entry["file_name"], size))
    check_unique((picture.id for picture in pictures), "image", path)
    check_files_exist((picture.file for picture in pictures), path)
    return pictures


def read_picture(picture: Picture, path: Path) -> np.ndarray:
    """The pixels (H, W, 3) of a picture, if it is as large as its annotation in `path` says."""
    image = read_image(picture.file)
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
    document: Entry, pictures: list[Picture], categories: Categories, path: Path
) -> tuple[list[bytes], list[str]]:
    """Check `annotations` and store, for each picture, its objects as a line of JSON; and notes."""
    entries = section(document, "annotations", path)
    number_of = {picture.id: number for number, picture in enumerate(pictures)}
    objects: list[list] = [[] for _ in pictures]
    empty: list[int] = []
    for entry in entries:
        demand(entry, ("id", "image_id", "category_id", "segmentation"), "an annotation", path)
        name = f"{path}: annotation {entry['id']}"
        number = number_of.get(entry["image_id"])
        if number is None:
            raise ValueError(
                f"{name} is of image {entry['image_id']}, which 'images' does not list"
            )
        label = label_of(entry, categories, name)
        shape = entry["segmentation"]
        if check_shape(shape, pictures[number].size, name):
            is_crowd = bool(entry.get("iscrowd", 0))
            objects[number].append((entry["id"], label, entry.get("area"), is_crowd, shape))
        else:
            empty.append(entry["id"])
    check_unique((entry["id"] for entry in entries), "annotation", path)
    return [json.dumps(found).encode() for found in objects], _note_empty(empty, len(entries), path)


def _note_empty(empty: list[int], count: int, path: Path) -> list[str]:
    if not empty:
        return []
    if len(empty) == count:
        raise ValueError(
            f"{path}: none of its {count} annotations covers a pixel of its picture; are these "
            "boxes or points without masks?"
        )
    note = f"{path}: {len(empty)} of {count} annotations have no area inside their picture and are"
    return [f"{note} left out, the first is annotation {empty[0]}"]
