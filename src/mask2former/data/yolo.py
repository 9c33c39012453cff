"""YOLO segmentation: a text file beside each picture, one polygon a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data.chosen import choose_files, numbered_lines
from mask2former.data.coco import paint_layers
from mask2former.data.dataset import Dataset, as_sample
from mask2former.data.listener import STRICT, Listener
from mask2former.data.semantic import files_by_name
from mask2former.faults import excerpt
from mask2former.files import read_size
from mask2former.structures import Sample, TrueInstance, Truth

SLACK = 0.05
"""Tools let polygons reach a little over the edge; by more, in shares of a side, is a fault."""
BOX = 4
"""So many numbers after the class are x, y, width and height."""


class YoloPolygons(Dataset):
    """A folder of pictures and one of text files: class and x y x y ..., as shares of the sides.

    A category's id is the number that lines begin with. A file without lines, or no file, is a
    picture without objects. `names` is a text file that names the pictures to take.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        categories: Categories,
        *,
        names: Path | None = None,
        listener: Listener = STRICT,
    ) -> None:
        self.categories = categories
        self._listener = listener
        self._root, folder = Path(images), Path(labels)
        pictures = files_by_name(self._root)
        if names is not None:
            pictures = choose_files(pictures, names)
        self._pictures = list(pictures.values())
        self._labels = [folder / f"{name}.txt" for name in pictures]
        bare = sum(not file.is_file() for file in self._labels)
        if bare == len(self._labels):
            raise ValueError(f"{folder}: no label file for any picture of {images}")
        self.notes = (
            [f"{folder}: {bare} of {len(self)} pictures have no label file, and so no objects"]
            if bare
            else []
        )

    def __len__(self) -> int:
        return len(self._pictures)

    def file(self, index: int) -> Path:
        return self._pictures[index]

    def sample(self, index: int) -> Sample:
        image = self.image(index)
        objects = list(self._objects(index, image.shape[:2]))
        layers, kept = paint_layers([found.rle for found in objects], image.shape[:2])
        name = self.file(index).relative_to(self._root).as_posix()
        return as_sample(image[None], layers[:, None], [objects[k].label for k in kept], name)

    def truth(self, index: int) -> Truth:
        size = read_size(self.file(index))
        return Truth(size, instances=list(self._objects(index, size)))

    def labels(self, index: int) -> list[int]:
        return [self.categories.label_of[number] for _, number, _ in self._polygons(index)]

    def _objects(self, index: int, size: tuple[int, int]) -> Iterator[TrueInstance]:
        height, width = size
        for line, number, points in self._polygons(index):
            mask = rle.from_annotation((points * (width, height)).ravel().tolist(), *size)
            area = rle.area(mask)
            if area:
                yield TrueInstance(mask, self.categories.label_of[number], area, is_crowd=False)
            else:
                file = self._labels[index]
                sentence = f"{file}:{line}: covers no pixel of its picture and is left out"
                self._listener.skip(file, f"line {line}", sentence)

    def _polygons(self, index: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Line, class number and points (P, 2), x and y as shares of the sides."""
        file = self._labels[index]
        if not file.is_file():
            return
        for line, words in numbered_lines(file):
            try:
                yield line, *_read_polygon(words, self.categories)
            except ValueError as error:
                fault = ValueError(f"{file}:{line}: {error}")
                self._listener.fault(file, f"line {line}", fault)


def _read_polygon(words: str, categories: Categories) -> tuple[int, np.ndarray]:
    first, *rest = words.split()
    try:
        number, points = float(first), np.array(rest, float)
    except ValueError:
        raise ValueError(f"{excerpt(words)} is no class number with coordinates") from None
    if number not in categories.label_of:
        last = max(categories.label_of)
        raise ValueError(f"the class {first} has no name; the names end at {last}")
    if len(points) == BOX:
        raise ValueError("a box (class x y width height) has no mask; export polygons instead")
    if len(points) < 6 or len(points) % 2:
        raise ValueError(f"{len(points)} coordinates are no polygon, which has 3 points or more")
    outside = points[~((points >= -SLACK) & (points <= 1 + SLACK))]  # NaN too
    if outside.size:
        raise ValueError(f"the coordinate {outside[0]:g} is no share of a side, from 0 to 1")
    return int(number), points.reshape(-1, 2)
