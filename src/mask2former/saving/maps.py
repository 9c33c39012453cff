"""A PNG of numbers for every picture: class labels, or which object a pixel belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mask2former.categories import Categories
from mask2former.files import write_label_map, write_png
from mask2former.saving.regions import Add, Record, regions, size_of
from mask2former.structures import Result, SemanticMap

MOST = np.iinfo(np.uint16).max
"""The largest number a 16-bit PNG holds."""


@contextmanager
def write_labels(folder: Path, categories: Categories) -> Iterator[Add]:
    """`labels/*.png`: every pixel's position in the list of classes."""

    def add(record: Record) -> None:
        assert isinstance(record.result, SemanticMap)
        size_of(record.result)
        path = folder / "labels" / Path(record.file).with_suffix(".png")
        write_label_map(path, record.result.labels[0])

    yield add


@contextmanager
def write_masks(folder: Path, categories: Categories) -> Iterator[Add]:
    """`masks/*.png`, 16 bits: every pixel's object, numbered as in the other formats; 0 is none."""

    def add(record: Record) -> None:
        path = folder / "masks" / Path(record.file).with_suffix(".png")
        try:
            write_png(path, number_map(record.result))
        except ValueError as error:
            raise ValueError(f"{record.file}: {error}") from None

    yield add


def number_map(result: Result) -> np.ndarray:
    """The number of every pixel's region, uint16 (H, W); where some overlap, the best one's."""
    numbers = np.zeros(size_of(result), np.uint16)
    found = list(regions(result))
    if any(region.id > MOST for region in found):
        raise ValueError(f"a PNG of 16 bits tells {MOST} objects apart; save coco instead")
    for region in reversed(found):
        numbers[region.rows, region.columns][region.pixels] = region.id
    return numbers
