"""Average precision by the rules of Cityscapes, which differ from COCO's.

An object smaller than 100 pixels, a group, and void are neither found nor missed; a detection that
lies mostly in them is forgiven. AP is the area under the steps of the precision-recall curve.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.structures import Instances, TrueInstance, Truth

OVERLAPS = np.arange(0.5, 1.0, 0.05)
SMALLEST = 100
"""Pixels that an object needs to count."""


class Verdicts(NamedTuple):
    """What became of detections of one class, at every overlap; forgiven ones are neither."""

    scores: np.ndarray  # (P,)
    right: np.ndarray  # (P, 10) bool
    wrong: np.ndarray  # (P, 10) bool


class CityscapesAP:
    """Mask AP of the things, equal to cityscapesScripts' instance-level evaluation.

    Its own code works on files and does not run with numpy 2.4 (`np.in1d`); it is the oracle.
    """

    def __init__(self, categories: Categories) -> None:
        self._names = {label: c.name for label, c in enumerate(categories) if c.is_thing}
        if not self._names:
            raise ValueError("AP is measured on things, and every category is stuff")
        self._objects = dict.fromkeys(self._names, 0)
        self._verdicts: dict[int, list[Verdicts]] = {label: [] for label in self._names}

    @property
    def protocol(self) -> str:
        """The rules in one sentence."""
        return (
            "mask AP as in cityscapesScripts: mean over IoU 0.50:0.05:0.95 and the classes that "
            f"occur, objects of {SMALLEST} pixels or more, groups and void ignored"
        )

    def update(self, prediction: Instances, truth: Truth) -> None:
        """Match the instances of one picture; ValueError where the truth says too little."""
        if truth.instances is None or truth.void is None:
            raise ValueError(
                "Cityscapes' AP needs to know instances and void, as data.format=cityscapes reads "
                "them; test.ap=coco takes the rules of COCO"
            )
        if prediction.size != (1, *truth.size):
            raise ValueError(
                f"the predicted masks are {list(prediction.size[1:])}, the true ones "
                f"{list(truth.size)}: predict at the original size of the picture"
            )
        places = np.zeros(truth.size, np.intp)
        for place, instance in enumerate(truth.instances, start=1):
            places[rle.decode(instance.rle)] = place
        areas, voids, hits = _overlap(prediction, truth.void, places, len(truth.instances))
        for label in self._names:
            chosen = (prediction.labels == label) & (areas > 0)
            same = [i for i, true in enumerate(truth.instances) if true.label == label]
            verdicts, count = _judge(
                prediction.scores[chosen].astype(float),
                areas[chosen],
                voids[chosen],
                hits[chosen][:, same],
                [truth.instances[i] for i in same],
            )
            self._objects[label] += count
            self._verdicts[label].append(verdicts)

    def merge(self, other: CityscapesAP) -> None:
        """Add what another process has counted."""
        for label in self._names:
            self._objects[label] += other._objects[label]
            self._verdicts[label] += other._verdicts[label]

    def compute(self) -> dict[str, float]:
        """AP, and AP at IoU 0.50."""
        table = np.array([self._precisions(label) for label in self._names])
        table = table[~np.isnan(table).all(axis=1)]
        if not len(table):
            return {"AP": float("nan"), "AP50": float("nan")}
        return {"AP": float(table.mean()), "AP50": float(table[:, 0].mean())}

    def per_class(self) -> list[dict[str, Any]]:
        """AP and AP50 of every thing; NaN for those that do not occur."""
        rows = ((name, self._precisions(label)) for label, name in self._names.items())
        return [
            {"name": name, "AP": float(found.mean()), "AP50": float(found[0])}
            for name, found in rows
        ]

    def _precisions(self, label: int) -> np.ndarray:
        """AP of a class at every overlap; NaN where it has no object."""
        objects = self._objects[label]
        if objects == 0:
            return np.full(len(OVERLAPS), np.nan)
        scores, right, wrong = (
            np.concatenate(part) for part in zip(*self._verdicts[label], strict=True)
        )
        return np.array(
            [
                _area_under_steps(scores[counted], found[counted], objects)
                for found, counted in zip(right.T, (right | wrong).T, strict=True)
            ]
        )


def _overlap(
    prediction: Instances, void: np.ndarray, places: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of each detection (P,), those of them in void (P,) and in each object (P, count)."""
    size = len(prediction.labels)
    areas, voids = np.zeros(size, np.int64), np.zeros(size, np.int64)
    hits = np.zeros((size, count), np.int64)
    for index in range(size):
        boxed = prediction.boxed[index]
        _, *box = boxed.window()
        mask = boxed.pixels.reshape(boxed.size[1:])
        areas[index] = boxed.area
        voids[index] = np.count_nonzero(mask & void[tuple(box)])
        hits[index] = np.bincount(places[tuple(box)][mask], minlength=count + 1)[1:]
    return areas, voids, hits


def _judge(
    scores: np.ndarray,
    areas: np.ndarray,
    voids: np.ndarray,
    hits: np.ndarray,
    objects: list[TrueInstance],
) -> tuple[Verdicts, int]:
    """What becomes of the detections of one class, and how many objects count.

    Objects are disjoint, so that a detection covers more than half of one of them at most. The
    detection with the best score finds the object; others of the same object are wrong.
    """
    sizes = np.array([true.area for true in objects], np.int64)
    group = np.array([true.is_crowd for true in objects], bool)
    small = sizes < SMALLEST
    shares = hits / np.maximum(areas[:, None] + sizes - hits, 1)
    over = shares[:, :, None] > OVERLAPS  # (P, objects, 10)
    true = ~group & ~small
    rivals = np.where(over[:, true], scores[:, None, None], -1.0)
    best = rivals.argmax(0) if len(scores) else 0  # of each object, at each overlap
    first = np.arange(len(scores))[:, None, None] == best
    right = (over[:, true] & first).any(1)
    # The official count takes a small group twice.
    forgiven = (voids + (hits * (group.astype(int) + small)).sum(1)) / np.maximum(areas, 1)
    astray = ~over.any(1) & (forgiven[:, None] <= OVERLAPS)
    wrong = (over[:, true].any(1) & ~right) | astray
    return Verdicts(scores, right, wrong), int(true.sum())


def _area_under_steps(scores: np.ndarray, right: np.ndarray, objects: int) -> float:
    """The area under precision over recall, each step as wide as half of both its neighbours."""
    order = np.argsort(scores)
    _, starts = np.unique(scores[order], return_index=True)
    below = np.concatenate([[0], right[order].cumsum()])[starts]  # right ones under a threshold
    found = right.sum() - below
    precision = np.append(found / (len(scores) - starts), 1.0)
    recall = np.append(found / objects, 0.0)
    around = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (around[:-2] - around[2:])) / 2
