"""Objects across the seams of windows: which of their pieces are one, and what the whole is.

A window is a rectangle of a large picture that goes through the network alone; windows overlap in
bands. (The tiles of `postprocess.tiles` are another matter: they cut masks, not pictures.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from mask2former.structures import BoxedMask, Instances

EDGE = 4
"""An object that comes so near (pixels) to a border inside the picture may be cut off there."""
SAME = 0.5
"""Pieces whose IoU in the pixels that both windows see is at least this are one object."""
COVERED = 0.75
"""So is a cut piece with this share of its pixels inside another; and a piece that was not cut is
the whole object, if it has this share of all that its pieces cover together."""

Box = tuple[slice, slice]
"""Rows and columns of the picture."""


class Window(NamedTuple):
    """A rectangle of a large picture, and the core in which it and no other window decides."""

    box: Box
    core: Box

    def core_inside(self) -> Box:
        """The core in the window's own pixels."""
        rows, columns = (
            slice(core.start - side.start, core.stop - side.start)
            for side, core in zip(self.box, self.core, strict=True)
        )
        return rows, columns


class Piece(NamedTuple):
    """What one window shows of an object."""

    window: int
    mask: BoxedMask  # in the picture
    label: int
    score: float
    is_cut: bool


def lay_windows(size: tuple[int, int], side: int, overlap: int) -> list[Window]:
    """Cover a picture with windows of one size, at most `side` long, that overlap at least so much.

    The cores meet in the middle of the overlaps, and share the picture out among themselves.
    """
    rows, columns = (list(_lay(length, side, overlap)) for length in size)
    return [
        Window((row, column), (core_row, core_column))
        for row, core_row in rows
        for column, core_column in columns
    ]


def _lay(length: int, side: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """Windows and cores along one side, evenly spread."""
    side = min(side, length)
    count = 1 if side == length else math.ceil((length - overlap) / (side - overlap))
    starts = np.linspace(0, length - side, count).round().astype(int).tolist()
    middles = [(start + side + after) // 2 for start, after in pairwise(starts)]
    for start, first, last in zip(starts, [0, *middles], [*middles, length], strict=True):
        yield slice(start, start + side), slice(first, last)


def find_pieces(
    number: int, window: Window, found: Instances, size: tuple[int, int]
) -> Iterator[Piece]:
    """What the `number`-th window found, placed in the picture of a size."""
    rows, columns = window.box
    for mask, label, score in zip(found.boxed, found.labels, found.scores, strict=True):
        if mask.area:
            placed = mask.moved(rows.start, columns.start)
            is_cut = any(
                (inner.start < outer.start + EDGE and outer.start > 0)
                or (inner.stop > outer.stop - EDGE and outer.stop < length)
                for inner, outer, length in zip(_box(placed), window.box, size, strict=True)
            )
            yield Piece(number, placed, int(label), float(score), is_cut)


def join_pieces(
    pieces: Sequence[Piece], windows: Sequence[Window], size: tuple[int, int]
) -> Instances:
    """One instance for every object, best first.

    Pieces of one class that agree where two windows overlap are one object. Its mask and score are
    those of a window that shows it whole, of several the one whose core has most of it; or else the
    mask is what all its pieces cover, and the score their mean by area. What only one window says
    counts where no other window decides: if most of its pixels lie in that window's core.
    """
    groups = _Groups(len(pieces))
    for first, second in _neighbours(pieces, windows):
        band = _common(*(windows[pieces[index].window].box for index in (first, second)))
        if _are_one(pieces[first], pieces[second], band):
            groups.unite(first, second)
    objects = []
    for members in groups.members():
        group = [pieces[index] for index in members]
        if len(group) > 1:
            objects.append(_join(group, windows))
        elif _is_in_own_core(group[0], windows):
            objects.append(group[0])
    objects.sort(key=lambda piece: -piece.score)
    return Instances(
        [piece.mask for piece in objects],
        np.array([piece.label for piece in objects], np.int64),
        np.array([piece.score for piece in objects], np.float32),
        (1, *size),
    )


def _neighbours(pieces: Sequence[Piece], windows: Sequence[Window]) -> Iterator[tuple[int, int]]:
    """Pairs of pieces of one class, of two windows, whose boxes meet."""
    labels = np.array([piece.label for piece in pieces])
    boxes = np.array([_corners(_box(piece.mask)) for piece in pieces]).reshape(-1, 4)
    owner = np.array([piece.window for piece in pieces])
    own = [np.flatnonzero(owner == number) for number in range(len(windows))]
    for first, second in combinations(range(len(windows)), 2):
        band = _common(windows[first].box, windows[second].box)
        if _is_empty(band):
            continue
        inside = (
            index[_meet(boxes[index], np.array(_corners(band)))]
            for index in (own[first], own[second])
        )
        some, others = inside
        pairs = _meet(boxes[some][:, None], boxes[others][None])
        pairs &= labels[some][:, None] == labels[others][None]
        yield from ((int(some[i]), int(others[j])) for i, j in np.argwhere(pairs))


def _are_one(one: Piece, other: Piece, band: Box) -> bool:
    """Whether two pieces, of windows that share the `band`, are of one object."""
    common = _common(_box(one.mask), _box(other.mask))
    shared = int(np.count_nonzero(_cut(one.mask, common) & _cut(other.mask, common)))
    if shared == 0:
        return False
    seen = sum(_count_in(piece.mask, band) for piece in (one, other))
    return shared >= SAME * (seen - shared) or any(
        piece.is_cut and shared >= COVERED * piece.mask.area for piece in (one, other)
    )


def _join(group: Sequence[Piece], windows: Sequence[Window]) -> Piece:
    """The whole object."""
    union = BoxedMask.union([piece.mask for piece in group])
    whole = [p for p in group if not p.is_cut and p.mask.area >= COVERED * union.area]
    if whole:
        return max(whole, key=lambda piece: _count_in(piece.mask, windows[piece.window].core))
    areas = [piece.mask.area for piece in group]
    score = float(np.average([piece.score for piece in group], weights=areas))
    return group[0]._replace(mask=union, score=score)


def _is_in_own_core(piece: Piece, windows: Sequence[Window]) -> bool:
    """Whether no other window's core has more of its pixels."""
    own = _count_in(piece.mask, windows[piece.window].core)
    if 2 * own >= piece.mask.area:
        return True
    return own >= max(_count_in(piece.mask, window.core) for window in windows)


class _Groups:
    """Which of some numbers belong together (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def _root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = index = self._parent[self._parent[index]]
        return index

    def unite(self, first: int, second: int) -> None:
        self._parent[self._root(second)] = self._root(first)

    def members(self) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for index in range(len(self._parent)):
            groups.setdefault(self._root(index), []).append(index)
        return list(groups.values())


def _box(mask: BoxedMask) -> Box:
    _, rows, columns = mask.window()
    return rows, columns


def _corners(box: Box) -> tuple[int, int, int, int]:
    """Top, left, bottom, right."""
    rows, columns = box
    return rows.start, columns.start, rows.stop, columns.stop


def _meet(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether boxes (..., 4) of corners have a pixel in common with others."""
    meets = (boxes[..., :2] < others[..., 2:]) & (others[..., :2] < boxes[..., 2:])
    return np.all(meets, axis=-1)


def _common(one: Box, other: Box) -> Box:
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def _is_empty(box: Box) -> bool:
    return any(side.start >= side.stop for side in box)


def _count_in(mask: BoxedMask, part: Box) -> int:
    """How many pixels of a mask lie in a part of the picture."""
    return int(np.count_nonzero(_cut(mask, part)))


def _cut(mask: BoxedMask, part: Box) -> np.ndarray:
    """The pixels (h, w) of a mask in a part of the picture, where its box reaches."""
    own = _box(mask)
    common = _common(own, part)
    if _is_empty(common):
        return np.zeros((0, 0), bool)
    rows, columns = (
        slice(side.start - whole.start, side.stop - whole.start)
        for side, whole in zip(common, own, strict=True)
    )
    return mask.pixels[0, rows, columns]
