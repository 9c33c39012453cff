"""COCO instance annotations: one JSON with polygons or run-length encodings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data.dataset import Dataset, as_sample, check_files_exist
from mask2former.files import read_image, read_json
from mask2former.structures import Sample, TrueInstance, Truth

Entry = dict[str, Any]


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
        self._objects = _pack_objects(document, self._pictures, self.categories, path)

    def __len__(self) -> int:
        return len(self._pictures)

    def file(self, index: int) -> Path:
        return self._pictures[index].file

    def sample(self, index: int) -> Sample:
        picture = self._pictures[index]
        image = read_image(picture.file)
        check_size(picture, image, self.annotations)
        objects = [found for found in self._instances(index) if not found.is_crowd]
        layers, kept = paint_layers([found.rle for found in objects], picture.size)
        labels = [objects[k].label for k in kept]
        return as_sample(image[None], layers[:, None], labels, picture.file.name)

    def truth(self, index: int) -> Truth:
        return Truth(self._pictures[index].size, instances=list(self._instances(index)))

    def _instances(self, index: int) -> Iterator[TrueInstance]:
        height, width = self._pictures[index].size
        for number, label, area, is_crowd, shape in json.loads(self._objects[index]):
            if isinstance(shape, list):  # lines and points have no area: they are not masks
                shape = [polygon for polygon in shape if len(polygon) >= 6]
            if not shape:
                continue
            try:
                mask = rle.from_annotation(shape, height, width)
            except ValueError as error:
                raise ValueError(f"{self.annotations}: annotation {number}: {error}") from error
            yield TrueInstance(mask, label, rle.area(mask) if area is None else area, is_crowd)


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
        size = int(entry["height"]), int(entry["width"])
        pictures.append(Picture(entry["id"], folder / entry["file_name"], size))
    check_unique((picture.id for picture in pictures), "image", path)
    check_files_exist((picture.file for picture in pictures), path)
    return pictures


def section(document: Entry, key: str, path: Path) -> list[Entry]:
    """The list of objects under `key`."""
    entries = document.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: a COCO file needs a list of objects under '{key}'")
    return entries


def demand(entry: Entry, keys: Sequence[str], what: str, path: Path) -> None:
    """Raise a ValueError if one of `keys` is missing."""
    missing = [key for key in keys if key not in entry]
    if missing:
        name = f"{what} (id {entry['id']})" if "id" in entry else what
        raise ValueError(f"{path}: {name} has no '{missing[0]}'")


def check_unique(ids: Iterable[int], what: str, path: Path) -> None:
    """Raise a ValueError that names the first id that occurs twice."""
    seen = set()
    for number in ids:
        if number in seen:
            raise ValueError(f"{path}: {what} id {number} occurs more than once")
        seen.add(number)


def check_size(picture: Picture, pixels: np.ndarray, path: Path) -> None:
    """Raise a ValueError where the picture is not as large as its annotation says."""
    if pixels.shape[:2] != picture.size:
        found, said = (f"{width} x {height}" for height, width in (pixels.shape[:2], picture.size))
        raise ValueError(f"{picture.file}: the file is {found} pixels, but {path} says {said}")


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
) -> list[bytes]:
    """Check `annotations` and store, for each picture, its objects as a line of JSON."""
    entries = section(document, "annotations", path)
    number_of = {picture.id: number for number, picture in enumerate(pictures)}
    objects: list[list] = [[] for _ in pictures]
    for entry in entries:
        demand(entry, ("id", "image_id", "category_id", "segmentation"), "an annotation", path)
        name = f"{path}: annotation {entry['id']}"
        number = number_of.get(entry["image_id"])
        if number is None:
            raise ValueError(
                f"{name} is of image {entry['image_id']}, which 'images' does not list"
            )
        label = categories.label_of.get(entry["category_id"])
        if label is None:
            raise ValueError(f"{name} is of the unknown category {entry['category_id']}")
        is_crowd = bool(entry.get("iscrowd", 0))
        shape = entry["segmentation"]
        _check_shape(shape, pictures[number].size, name)
        objects[number].append((entry["id"], label, entry.get("area"), is_crowd, shape))
    check_unique((entry["id"] for entry in entries), "annotation", path)
    return [json.dumps(found).encode() for found in objects]


def _check_shape(shape: Any, size: tuple[int, int], name: str) -> None:
    match shape:
        case {"size": [height, width], "counts": str() | list()}:
            if (height, width) != size:
                raise ValueError(f"{name} has a mask of {width} x {height} in another size's image")
        case list() if all(isinstance(polygon, list) for polygon in shape):
            if any(len(polygon) % 2 for polygon in shape):
                raise ValueError(f"{name} has a polygon with an odd number of coordinates")
        case _:
            raise ValueError(f"{name} has neither polygons nor a run-length encoding")
