"""What the formats have in common: a result is a list of regions, each with a class and a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mask2former.polygons import Ring, outlines
from mask2former.structures import Instances, Panoptic, Result, SemanticMap

Box = tuple[int, int, int, int]


class Record(NamedTuple):
    """What was found in a picture, or in a clip."""

    frames: Sequence[str]  # their files, relative to the folder of pictures
    result: Result
    source: Path | None = None  # the picture itself, for formats that point to it
    picture: str = ""  # its path below the folder of all pictures, where that is another name

    @property
    def picture_name(self) -> str:
        """What lists of results call the picture; ValueError for a clip."""
        return self.picture or self.file

    @property
    def file(self) -> str:
        """The name from which those of its results are made; ValueError for a clip."""
        if len(self.frames) != 1:
            raise ValueError(f"{self.frames[0]}: a clip cannot be saved as a single picture")
        return self.frames[0]


Add = Callable[[Record], None]
"""What a writer hands out to be called with one record after the other."""


class Region(NamedTuple):
    """An instance, a panoptic segment, or all pixels of a class."""

    id: int  # in its picture, from 1
    label: int
    score: float | None  # a class of a semantic map has none
    left: int
    top: int
    pixels: np.ndarray  # (height, width) bool, of its box alone

    @property
    def box(self) -> Box:
        """x, y, width and height in pixels."""
        height, width = self.pixels.shape
        return self.left, self.top, width, height

    @property
    def rows(self) -> slice:
        """The rows of its box."""
        return slice(self.top, self.top + self.pixels.shape[0])

    @property
    def columns(self) -> slice:
        """The columns of its box."""
        return slice(self.left, self.left + self.pixels.shape[1])

    @property
    def area(self) -> int:
        """Its pixels."""
        return int(np.count_nonzero(self.pixels))

    @property
    def centroid(self) -> tuple[float, float]:
        """The mean of its pixels' centres: x, y."""
        rows, columns = np.nonzero(self.pixels)
        return self.left + float(columns.mean()) + 0.5, self.top + float(rows.mean()) + 0.5

    def outlines(self) -> list[list[Ring]]:
        """Its parts as `polygons.outlines` has them, in the picture's pixels."""
        corner = np.array([self.left, self.top])
        return [[ring + corner for ring in part] for part in outlines(self.pixels)]


def size_of(result: Result) -> tuple[int, int]:
    """Height and width of a picture's result; ValueError for a clip's."""
    match result:
        case Instances():
            frames, height, width = result.size
        case Panoptic():
            frames, height, width = result.ids.shape
        case SemanticMap():
            frames, height, width = result.labels.shape
    if frames != 1:
        raise ValueError(f"this format holds single pictures, but the result is a clip of {frames}")
    return height, width


def regions(result: Result) -> Iterator[Region]:
    """The regions of a picture's result that have a pixel; instances best first."""
    size_of(result)
    match result:
        case Instances():
            scored = zip(result.boxed, result.labels, result.scores, strict=True)
            for number, (mask, label, score) in enumerate(scored, start=1):
                if mask.area:
                    _, top, left = mask.corner
                    yield Region(number, int(label), float(score), left, top, mask.pixels[0])
        case Panoptic():
            boxes = ndimage.find_objects(result.ids[0])
            for segment in result.segments:
                box = boxes[segment.id - 1]
                pixels = result.ids[0][box] == segment.id
                yield _region(segment.id, segment.label, segment.score, box, pixels)
        case SemanticMap():
            boxes = ndimage.find_objects(result.labels[0] + np.int16(1))  # 0 is nothing to scipy
            present = [(label, box) for label, box in enumerate(boxes) if box is not None]
            for number, (label, box) in enumerate(present, start=1):
                yield _region(number, label, None, box, result.labels[0][box] == label)


def _region(
    number: int, label: int, score: float | None, box: tuple[slice, slice], pixels: np.ndarray
) -> Region:
    rows, columns = box
    return Region(number, label, score, int(columns.start), int(rows.start), pixels)
