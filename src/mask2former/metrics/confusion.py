"""Which class is taken for which, and what is missed or invented."""

from __future__ import annotations

from typing import Self

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.metrics.panoptic_quality import overlaps
from mask2former.rle import side_by_side
from mask2former.structures import IGNORE, Instances, Panoptic, Result, SemanticMap, Truth

MATCH = 0.5
"""The IoU from which a prediction is taken for a true object or segment, whatever its class."""


class Confusion:
    """Counts by (true class, predicted class), each K + 1: the last row is what was not there.

    The last column is what was missed. Semantic maps count pixels; instances and panoptic results
    count objects and segments, matched one to one at an IoU of 0.5 or more, those of equal class
    first. What lies in void or in a crowd of its own class counts for nobody, as in the metrics.
    """

    def __init__(self, categories: Categories) -> None:
        self.names = categories.names
        self.counts = np.zeros((len(categories) + 1, len(categories) + 1), np.int64)

    def update(self, result: Result, truth: Truth) -> np.ndarray:
        """Add a picture or clip, and give its own counts."""
        counts = confuse(result, truth, len(self.names))
        self.counts += counts
        return counts

    def merge(self, other: Self) -> None:
        """Add what another process has counted."""
        self.counts += other.counts


def confuse(result: Result, truth: Truth, classes: int) -> np.ndarray:
    """The counts (K + 1, K + 1) of one picture or clip; its truth must be of the result's kind."""
    match result:
        case SemanticMap():
            assert truth.semantic is not None
            counted = truth.semantic != IGNORE
            true = truth.semantic[counted].astype(np.intp)
            found = side_by_side(result.labels)[counted] % (classes + 1)  # -1: the last column
            return _count(true, found, classes)
        case Instances():
            return _confuse_instances(result, truth, classes)
        case Panoptic():
            return _confuse_segments(result, truth, classes)


def _confuse_instances(result: Instances, truth: Truth, classes: int) -> np.ndarray:
    assert truth.instances is not None
    found = [rle.encode_boxed(mask, result.size) for mask in result.boxed]
    objects = [instance for instance in truth.instances if not instance.is_crowd]
    crowds = [instance for instance in truth.instances if instance.is_crowd]
    iou = rle.overlaps([instance.rle for instance in objects], found)
    of_class = np.array([crowd.label for crowd in crowds]).reshape(-1, 1) == result.labels
    inside = rle.shares([crowd.rle for crowd in crowds], found) >= MATCH
    excused = np.any(inside & of_class, axis=0)
    if truth.void is not None:
        excused |= rle.shares([rle.encode(truth.void)], found)[0] >= MATCH
    labels = np.array([instance.label for instance in objects], np.intp)
    return _count_matches(labels, result.labels, iou, excused, classes)


def _confuse_segments(result: Panoptic, truth: Truth, classes: int) -> np.ndarray:
    assert truth.panoptic is not None
    common = overlaps(truth.panoptic, truth.segments, side_by_side(result.ids), result.segments)
    is_crowd = np.array([segment.is_crowd for segment in truth.segments], bool)
    areas = common.sum(axis=0)[1:]
    crowd_labels = [segment.label for segment in truth.segments if segment.is_crowd]
    of_class = np.array(crowd_labels).reshape(-1, 1) == [s.label for s in result.segments]
    nobody = common[0, 1:] + (common[1:, 1:][is_crowd] * of_class).sum(axis=0)
    shared = common[1:, 1:][~is_crowd]
    objects = [segment for segment in truth.segments if not segment.is_crowd]
    true_areas = np.array([segment.area for segment in objects], np.int64).reshape(-1, 1)
    union = np.maximum(true_areas + areas - shared - common[0, 1:], 1)
    labels = np.array([segment.label for segment in objects], np.intp)
    found = np.array([segment.label for segment in result.segments], np.intp)
    return _count_matches(labels, found, shared / union, 2 * nobody > areas, classes)


def _count_matches(
    true: np.ndarray, found: np.ndarray, iou: np.ndarray, excused: np.ndarray, classes: int
) -> np.ndarray:
    """Counts of objects: labels (G,) and (P,), their IoU (G, P), and which found ones may be."""
    likeness = np.where(iou >= MATCH, iou + (true[:, None] == found), 0)
    rows, columns = np.full(len(found), classes), np.full(len(true), classes)
    for place in np.argsort(-likeness, axis=None, kind="stable")[: np.count_nonzero(likeness)]:
        row, column = np.unravel_index(place, likeness.shape)
        if columns[row] == classes and rows[column] == classes:
            rows[column], columns[row] = true[row], found[column]
    invented = (rows == classes) & ~excused
    return _count(
        np.concatenate([true, rows[invented]]),
        np.concatenate([columns, found[invented]]),
        classes,
    )


def _count(true: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    side = classes + 1
    return np.bincount(true * side + found, minlength=side * side).reshape(side, side)
