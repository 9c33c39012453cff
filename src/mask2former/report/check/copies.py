"""Are pictures of one split copies of those of another?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mask2former.config import SplitName
from mask2former.report.check.look import Seen

NEAR = 3
"""Bits of 64 in which the prints of two pictures may differ that are likely one."""
ROWS = 4096  # prints compared at a time


class Copy(NamedTuple):
    """A picture that is there twice, `first` before `second`."""

    first: tuple[SplitName, int]
    second: tuple[SplitName, int]
    is_exact: bool

    @property
    def leaks(self) -> bool:
        """Whether what is learnt is measured too."""
        return self.first[0] != self.second[0]


def find_copies(seen: dict[SplitName, list[Seen]]) -> list[Copy]:
    """Equal pixels anywhere, and pictures of different splits that look alike."""
    first_of: dict[bytes, tuple[SplitName, int]] = {}
    copies = []
    for split, pictures in seen.items():
        for picture in pictures:
            here = split, picture.index
            before = first_of.setdefault(picture.digest, here)
            if before != here:
                copies.append(Copy(before, here, is_exact=True))
    exact = {copy.second for copy in copies}
    alike = [
        copy
        for copy in _find_alike(seen.get("train", []), seen.get("val", []))
        if copy.second not in exact
    ]
    return copies + alike


def _find_alike(train: list[Seen], val: list[Seen]) -> list[Copy]:
    """For each validation picture the training picture whose print is nearest, if it is near."""
    train, val = ([s for s in seen if s.print is not None] for seen in (train, val))
    if not train or not val:
        return []
    prints = np.array([seen.print for seen in val], np.uint64)
    best, place = np.full(len(val), 65), np.zeros(len(val), int)
    for start in range(0, len(train), ROWS):
        part = np.array([seen.print for seen in train[start : start + ROWS]], np.uint64)
        for column in range(len(val)):
            bits = np.bitwise_count(part ^ prints[column])
            nearest = int(bits.argmin())
            if bits[nearest] < best[column]:
                best[column], place[column] = bits[nearest], start + nearest
    return [
        Copy(("train", train[place[column]].index), ("val", val[column].index), is_exact=False)
        for column in np.flatnonzero(best <= NEAR).tolist()
    ]
