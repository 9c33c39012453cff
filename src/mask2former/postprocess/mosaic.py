"""The result of a large picture, put together from those of its windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy import ndimage

from mask2former.postprocess.seams import Piece, Window, find_pieces, join_pieces
from mask2former.structures import BoxedMask, Instances, Panoptic, Result, Segment, SemanticMap

BAND = 512
"""Rows that are counted or renumbered at a time."""

Size = tuple[int, int]
"""Height and width."""


class Mosaic(Protocol):
    """Takes the results of all windows, one after the other."""

    def add(self, window: Window, found: Result) -> None:
        """Keep what is needed of a window's result."""
        ...

    def finish(self) -> Result:
        """The result of the whole picture; the mosaic is used up."""
        ...


class SemanticMosaic(Mosaic):
    """Every pixel has the class that the window says in whose core it lies."""

    def __init__(self, size: Size) -> None:
        self._labels = np.empty((1, *size), np.int16)

    def add(self, window: Window, found: Result) -> None:
        assert isinstance(found, SemanticMap)
        self._labels[0][window.core] = found.labels[0][window.core_inside()]

    def finish(self) -> SemanticMap:
        return SemanticMap(self._labels)


class InstanceMosaic(Mosaic):
    """Objects are joined across seams (`seams.join_pieces`)."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._windows: list[Window] = []
        self._pieces: list[Piece] = []

    def add(self, window: Window, found: Result) -> None:
        assert isinstance(found, Instances)
        self._pieces += find_pieces(len(self._windows), window, found, self._size)
        self._windows.append(window)

    def finish(self) -> Instances:
        return join_pieces(self._pieces, self._windows, self._size)


class PanopticMosaic(Mosaic):
    """Things are joined as instances and lie, the surest on top, over the stuff of the cores.

    A segment of stuff is of one class in all the picture; its score is the mean by area. Where the
    core's window sees a thing and no joined thing lies, the pixel is nobody's.
    """

    def __init__(self, size: Size, is_thing: Sequence[bool]) -> None:
        self._ids = np.zeros((1, *size), np.int32)  # first label + 1 of stuff, then things
        self._things = InstanceMosaic(size)
        self._is_thing = is_thing
        self._stuff = np.zeros((2, len(is_thing) + 1))  # area and area x score, by id

    def add(self, window: Window, found: Result) -> None:
        assert isinstance(found, Panoptic)
        ids = found.ids[0]
        self._things.add(window, _things_of(found))
        label_of = np.zeros(max((s.id for s in found.segments), default=0) + 1, np.int32)
        core = ids[window.core_inside()]
        areas = np.bincount(core.ravel(), minlength=label_of.size)
        for segment in found.segments:
            if not segment.is_thing:
                label_of[segment.id] = segment.label + 1
                seen = int(areas[segment.id])
                self._stuff[:, segment.label + 1] += seen, seen * segment.score
        self._ids[0][window.core] = label_of[core]

    def finish(self) -> Panoptic:
        things = self._things.finish()
        first = len(self._is_thing) + 1
        for index in reversed(range(len(things.boxed))):
            mask = things.boxed[index]
            self._ids[mask.window()][mask.pixels] = first + index
        areas = np.zeros(first + len(things.boxed), np.int64)
        for rows in self._bands():
            areas += np.bincount(rows.ravel(), minlength=areas.size)
        new_id = np.zeros(areas.size, np.int32)
        segments: list[Segment] = []
        for old in (np.flatnonzero(areas[1:]) + 1).tolist():
            new_id[old] = len(segments) + 1
            area, is_thing = int(areas[old]), old >= first
            label = int(things.labels[old - first]) if is_thing else old - 1
            score = things.scores[old - first] if is_thing else np.divide(*self._stuff[::-1, old])
            segments.append(Segment(len(segments) + 1, label, float(score), area, is_thing))
        for rows in self._bands():
            rows[:] = new_id[rows]
        return Panoptic(self._ids, segments)

    def _bands(self) -> list[np.ndarray]:
        """Views of some rows each."""
        return [self._ids[0, top : top + BAND] for top in range(0, self._ids.shape[1], BAND)]


def _things_of(found: Panoptic) -> Instances:
    """The things of a panoptic map as instances."""
    boxes = ndimage.find_objects(found.ids)
    things = [segment for segment in found.segments if segment.is_thing and boxes[segment.id - 1]]
    boxed = []
    for segment in things:
        box = boxes[segment.id - 1]
        corner = (box[0].start, box[1].start, box[2].start)
        boxed.append(BoxedMask.of(found.ids[box] == segment.id, corner))
    labels = np.array([segment.label for segment in things], np.int64)
    scores = np.array([segment.score for segment in things], np.float32)
    return Instances(boxed, labels, scores, found.ids.shape)
