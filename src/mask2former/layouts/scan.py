"""What occurs in label maps: values or colours."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mask2former.categories import Color
from mask2former.data.regions import TOUCHING
from mask2former.files import read_colors, read_label_map, read_mode, read_numbers

MOST_COLORS = 256
"""Maps of classes have fewer colours; more come of photographs and of lossy files."""
ONE_CHANNEL = ("1", "L", "P")
SAMPLE = 12
"""Maps that are looked into for numbered objects."""
LEAST = 16
"""Fewer values may be classes as well as objects."""
MOST = 0.8
"""The part of a map's objects that must be in one piece, and of its numbers that must be used."""


class Scan(NamedTuple):
    """The values of maps, or their colours where not all have one channel."""

    values: frozenset[int]
    colors: frozenset[Color]

    @property
    def is_colored(self) -> bool:
        """Whether classes are told by colours."""
        return bool(self.colors)


def scan(files: Sequence[Path], *, colored: bool | None = None) -> Scan:
    """Read all of the maps; `colored` says how, where None lets their first bytes tell."""
    if colored is None:
        colored = not all(
            mode in ONE_CHANNEL or mode.startswith("I;16") for mode in map(read_mode, files)
        )
    seen: set[int] = set()
    with ThreadPoolExecutor(4) as pool:  # decoding leaves the other threads alone
        for found in pool.map(_colors_of if colored else _values_of, files):
            seen.update(found)
            if colored and len(seen) > MOST_COLORS:
                raise ValueError(
                    f"the label maps hold more than {MOST_COLORS} colours; are they photographs, "
                    "or saved in a lossy form?"
                )
    if not colored:
        return Scan(frozenset(seen), frozenset())
    return Scan(frozenset(), frozenset((k >> 16, k >> 8 & 255, k & 255) for k in seen))


def _values_of(file: Path) -> list[int]:
    return np.flatnonzero(np.bincount(read_label_map(file).ravel())).tolist()


def _colors_of(file: Path) -> list[int]:
    red, green, blue = np.moveaxis(read_colors(file).astype(np.int32), -1, 0)
    return np.unique(red << 16 | green << 8 | blue).tolist()


def number_objects(files: Sequence[Path]) -> bool:
    """Whether maps number their objects: many values, from 1 on, each in one piece.

    Maps of many classes leave most numbers out in a picture, and scatter a class over it.
    """
    some = files[:: max(1, len(files) // SAMPLE)]
    if not all(mode == "L" or mode.startswith("I") for mode in map(read_mode, some)):
        return False
    maps = [np.maximum(read_numbers(file), 0) for file in some]
    found = [np.setdiff1d(numbers, [0]) for numbers in maps]
    objects = sum(map(len, found))
    if len(set(np.concatenate(found).tolist())) < LEAST:
        return False
    if objects < MOST * sum(int(values.max(initial=0)) for values in found):
        return False
    looked = [(m, value) for m, values in zip(maps, found, strict=True) for value in values[:LEAST]]
    whole = sum(_is_whole(numbers, value) for numbers, value in looked)
    return whole >= MOST * len(looked)


def _is_whole(numbers: np.ndarray, value: int) -> bool:
    """Whether the pixels of a value are in one piece."""
    rows, columns = np.nonzero(numbers == value)
    part = numbers[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == value
    return ndimage.label(part, TOUCHING)[1] == 1
