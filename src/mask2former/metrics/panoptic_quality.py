"""Panoptic quality (Kirillov et al., CVPR 2019) from id maps in memory, by panopticapi's rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mask2former.categories import Categories
from mask2former.rle import side_by_side
from mask2former.structures import Panoptic, Segment, TrueSegment, Truth


class PanopticQuality:
    """Counts, per class, the matched and the unmatched segments and the IoU of the matches."""

    def __init__(self, categories: Categories) -> None:
        self._names = categories.names
        self._is_thing = np.array(categories.is_thing)
        self._iou = np.zeros(len(categories))  # summed over the matches
        self._matched = np.zeros(len(categories), dtype=np.int64)  # true positives
        self._invented = np.zeros(len(categories), dtype=np.int64)  # false positives
        self._missed = np.zeros(len(categories), dtype=np.int64)  # false negatives

    @property
    def protocol(self) -> str:
        """The rules in one sentence."""
        return (
            "panoptic quality as in panopticapi: segments match at IoU > 0.5, void and crowd"
            " regions count for nobody, mean over the classes that are true or predicted"
        )

    def update(self, prediction: Panoptic, truth: Truth) -> None:
        """Count the segments of one picture or clip; ValueError if the two maps do not fit."""
        if truth.panoptic is None:
            raise ValueError("PQ needs a panoptic ground truth, and this data has none")
        predicted, true = side_by_side(prediction.ids), truth.panoptic
        if predicted.shape != true.shape:
            raise ValueError(
                f"the predicted panoptic map is {predicted.shape}, the true one {true.shape}:"
                " predict at the original size of the picture"
            )
        # (1 + G, 1 + P) pixels; the first row and column are void.
        common = overlaps(true, truth.segments, predicted, prediction.segments)
        self._count(common, truth.segments, prediction.segments)

    def _count(
        self, common: np.ndarray, true: Sequence[TrueSegment], predicted: Sequence[Segment]
    ) -> None:
        true_labels = np.array([segment.label for segment in true], dtype=np.int64)
        labels = np.array([segment.label for segment in predicted], dtype=np.int64)
        is_crowd = np.array([segment.is_crowd for segment in true], dtype=bool)
        # As panopticapi does: true areas as annotated, predicted areas as drawn.
        true_areas = np.array([segment.area for segment in true], dtype=np.int64)
        areas = common[:, 1:].sum(axis=0)

        shared, void = common[1:, 1:], common[0, 1:]
        union = true_areas[:, None] + areas - shared - void
        comparable = (true_labels[:, None] == labels) & ~is_crowd[:, None]
        iou = np.zeros(shared.shape)
        np.divide(shared, union, out=iou, where=comparable & (shared > 0) & (union > 0))
        rows, columns = matches = np.nonzero(iou > 0.5)

        missed = ~is_crowd
        missed[rows] = False
        # Of several crowds of one class the last counts, as in panopticapi.
        crowd_rows = {segment.label: row for row, segment in enumerate(true) if segment.is_crowd}
        excused = void.copy()
        for column, segment in enumerate(predicted):
            if segment.label in crowd_rows:
                excused[column] += shared[crowd_rows[segment.label], column]
        invented = 2 * excused <= areas
        invented[columns] = False

        np.add.at(self._iou, true_labels[rows], iou[matches])
        np.add.at(self._matched, true_labels[rows], 1)
        np.add.at(self._missed, true_labels[missed], 1)
        np.add.at(self._invented, labels[invented], 1)

    def merge(self, other: PanopticQuality) -> None:
        """Add what another process has counted."""
        self._iou += other._iou
        self._matched += other._matched
        self._invented += other._invented
        self._missed += other._missed

    def compute(self) -> dict[str, float]:
        """PQ, segmentation and recognition quality (PQ = SQ * RQ per class): all, things, stuff."""
        groups = {
            "": np.ones_like(self._is_thing),
            "_things": self._is_thing,
            "_stuff": ~self._is_thing,
        }
        qualities = dict(zip(("PQ", "SQ", "RQ"), self._qualities(), strict=True))
        return {
            name + suffix: _mean(values[members])
            for suffix, members in groups.items()
            for name, values in qualities.items()
        }

    def per_class(self) -> list[dict[str, Any]]:
        """PQ, SQ and RQ of every class; NaN for classes that are neither true nor predicted."""
        rows = zip(self._names, *(values.tolist() for values in self._qualities()), strict=True)
        return [{"name": name, "PQ": pq, "SQ": sq, "RQ": rq} for name, pq, sq, rq in rows]

    def _qualities(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weight = self._matched + 0.5 * self._invented + 0.5 * self._missed
        weight[weight == 0] = np.nan
        segmentation = self._iou / np.maximum(self._matched, 1)  # no match: a quality of 0
        segmentation[np.isnan(weight)] = np.nan
        return self._iou / weight, segmentation, self._matched / weight


def overlaps(
    true: np.ndarray,
    true_segments: Sequence[TrueSegment],
    predicted: np.ndarray,
    segments: Sequence[Segment],
) -> np.ndarray:
    """Pixels that each true segment shares with each predicted one: (1 + G, 1 + P), void first."""
    rows = _positions(true, [segment.id for segment in true_segments], "true")
    columns = _positions(predicted, [segment.id for segment in segments], "predicted")
    shape = 1 + len(true_segments), 1 + len(segments)
    pairs = (rows * shape[1] + columns).ravel()
    common = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
    empty = [s.id for s, area in zip(segments, common.sum(axis=0)[1:], strict=True) if area == 0]
    if empty:
        raise ValueError(f"the predicted segments {empty} have no pixel in the panoptic map")
    return common


def _positions(ids: np.ndarray, known: list[int], source: str) -> np.ndarray:
    """Where each pixel's id stands in [void, *known]; ValueError for ids that no segment names."""
    if len({0, *known}) != 1 + len(known):
        raise ValueError(f"the ids of {source} segments must be positive and unique: {known}")
    # COCO's ids reach 2^24, but untouched pages of zeros cost nothing.
    table = np.zeros(max(int(ids.max(initial=0)), *known, 0) + 1, dtype=np.int64)
    table[[0, *known]] = np.arange(1, len(known) + 2)
    positions = table[ids] - 1
    if positions.size and positions.min() < 0:
        stray = np.unique(ids[positions < 0]).tolist()
        raise ValueError(f"the {source} panoptic map holds the ids {stray}, which no segment names")
    return positions


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
