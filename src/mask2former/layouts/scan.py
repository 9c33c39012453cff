"""What occurs in label maps: values or colours."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mask2former.categories import Color
from mask2former.files import read_colors, read_label_map, read_mode

MOST_COLORS = 256
"""Maps of classes have fewer colours; more come of photographs and of lossy files."""
ONE_CHANNEL = ("1", "L", "P")


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
