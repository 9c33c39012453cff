"""What the headline of an evaluation hides: confusions, counts, and the figures of each picture."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np

from mask2former.categories import Categories
from mask2former.metrics.confusion import Confusion
from mask2former.metrics.mean_iou import MeanIoU
from mask2former.metrics.panoptic_quality import PanopticQuality
from mask2former.structures import Instances, Panoptic, Result, SemanticMap, Truth


class PictureFigures(NamedTuple):
    """How well one picture was understood."""

    index: int  # in the data set
    score: float  # F1 at an IoU of 0.5, PQ or mIoU; NaN where there was nothing to find
    true: int  # objects; nothing is counted in semantic maps
    found: int

    @property
    def error(self) -> int:
        """How many objects were found too many."""
        return self.found - self.true


class Counting(NamedTuple):
    """How well objects were counted, over all pictures."""

    true: int
    found: int
    mean_error: float  # objects a picture; above 0 where too many are found
    mean_absolute_error: float
    relative_error: float  # of the sum over all pictures


class Inspection:
    """Watches an evaluation, in memory that grows by a few numbers a picture.

    Only instances of `threshold` or more are looked at, as a person would see them.
    """

    def __init__(self, categories: Categories, threshold: float) -> None:
        self.categories = categories
        self.threshold = threshold
        self.confusion = Confusion(categories)
        self.pictures: list[PictureFigures] = []
        self.curves: dict[str, np.ndarray] = {}
        """Precision at 101 recalls from 0 to 1 and an IoU of 0.5, by class; instances only."""

    def update(self, index: int, result: Result, truth: Truth) -> None:
        """Look at a picture or clip of the data set."""
        if isinstance(result, Instances):
            result = result.select(result.scores >= self.threshold)
        counts = self.confusion.update(result, truth)
        true, found = self._count_objects(result, counts)
        score = picture_score(result, truth, self.categories, counts)
        self.pictures.append(PictureFigures(index, score, true, found))

    def merge(self, other: Self) -> None:
        """Add what another process has seen."""
        self.confusion.merge(other.confusion)
        self.pictures = sorted([*self.pictures, *other.pictures])

    def worst(self, number: int) -> list[PictureFigures]:
        """The pictures with the lowest scores, the lowest first."""
        measured = [picture for picture in self.pictures if not math.isnan(picture.score)]
        return sorted(measured, key=lambda picture: (picture.score, picture.index))[:number]

    def counting(self) -> Counting | None:
        """True against found objects; None where no object was to be counted."""
        true = sum(picture.true for picture in self.pictures)
        found = sum(picture.found for picture in self.pictures)
        if true == found == 0:
            return None
        errors = np.array([picture.error for picture in self.pictures])
        relative = (found - true) / true if true else math.inf
        return Counting(true, found, float(errors.mean()), float(abs(errors).mean()), relative)

    def _count_objects(self, result: Result, counts: np.ndarray) -> tuple[int, int]:
        if isinstance(result, SemanticMap):
            return 0, 0
        is_thing = np.array(self.categories.is_thing)
        true, found = counts.sum(axis=1)[:-1], counts.sum(axis=0)[:-1]
        return int(true[is_thing].sum()), int(found[is_thing].sum())


def picture_score(
    result: Result, truth: Truth, categories: Categories, counts: np.ndarray
) -> float:
    """One picture's figure: F1 of instances, PQ of a panoptic result, mIoU of a semantic map.

    `counts` are its confusions. NaN where there was nothing to find and nothing was found.
    """
    match result:
        case Instances():
            right, all_of_them = counts.trace(), counts[:-1].sum() + counts[:, :-1].sum()
            return float(2 * right / all_of_them) if all_of_them else math.nan
        case Panoptic():
            quality = PanopticQuality(categories)
            quality.update(result, truth)
            return quality.compute()["PQ"]
        case SemanticMap():
            overlap = MeanIoU(categories)
            overlap.update(result, truth)
            return overlap.compute()["mIoU"]
