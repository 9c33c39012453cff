"""Instances that are found twice."""

from __future__ import annotations

import numpy as np
import pytest

from mask2former.postprocess.duplicates import without_duplicates
from mask2former.structures import Instances


def rectangles(*sides: tuple[int, int, int, int], labels: list[int] | None = None) -> Instances:
    """Masks (top, bottom, left, right) in a picture of 40 x 60, the first the surest."""
    masks = np.zeros((len(sides), 1, 40, 60), bool)
    for mask, (top, bottom, left, right) in zip(masks, sides, strict=True):
        mask[0, top:bottom, left:right] = True
    scores = np.linspace(0.9, 0.1, len(sides)).astype(np.float32)
    return Instances.of_masks(masks, np.array(labels or [0] * len(sides)), scores)


def brute_force(found: Instances, limit: float) -> list[int]:
    kept: list[int] = []
    masks = found.masks
    for index in range(len(masks)):
        ious = [
            (masks[index] & masks[k]).sum() / max((masks[index] | masks[k]).sum(), 1)
            for k in kept
            if found.labels[k] == found.labels[index]
        ]
        if all(iou <= limit for iou in ious):
            kept.append(index)
    return kept


def test_duplicates_of_a_better_one_are_left_out() -> None:
    found = rectangles((0, 10, 0, 10), (0, 10, 1, 11), (0, 10, 8, 18), (20, 30, 0, 10))
    kept = without_duplicates(found, 0.7)
    assert kept.scores.tolist() == found.scores[[0, 2, 3]].tolist()
    assert kept.mask(1)[0, 0].nonzero()[0].tolist() == list(range(8, 18))


def test_other_classes_and_other_places_stay() -> None:
    found = rectangles((0, 10, 0, 10), (0, 10, 0, 10), (0, 10, 50, 60), labels=[0, 1, 0])
    assert len(without_duplicates(found, 0.5).boxed) == 3


def test_overlap_at_the_limit_stays() -> None:
    found = rectangles((0, 10, 0, 10), (0, 10, 0, 5))
    assert len(without_duplicates(found, 0.5).boxed) == 2
    assert len(without_duplicates(found, 0.49).boxed) == 1


@pytest.mark.parametrize("seed", range(20))
def test_kept_are_those_of_brute_force(seed: int) -> None:
    draw = np.random.default_rng(seed)
    corners = draw.integers(0, 20, (30, 2))
    sides = draw.integers(0, 15, (30, 2))  # some are empty
    masks = np.zeros((30, 2, 40, 40), bool)
    for mask, (top, left), (height, width) in zip(masks, corners, sides, strict=True):
        mask[draw.integers(0, 2) :, top : top + height, left : left + width] = True
    masks &= draw.random(masks.shape) < 0.9
    scores = np.sort(draw.random(30).astype(np.float32))[::-1]
    found = Instances.of_masks(masks, draw.integers(0, 2, 30), scores)
    for limit in (0.1, 0.4, 0.8):
        kept = without_duplicates(found, limit)
        assert kept.scores.tolist() == found.scores[brute_force(found, limit)].tolist()


def test_nothing_found_stays_nothing() -> None:
    nothing = Instances([], np.zeros(0, np.int64), np.zeros(0, np.float32), (1, 4, 4))
    assert len(without_duplicates(nothing, 0.5).boxed) == 0
