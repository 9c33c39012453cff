"""Rare classes: the factors and weights against plain loops over the definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mask2former.data import LabelMaps, Shapes
from mask2former.data.balance import (
    balancing_weights,
    count_objects,
    read_labels,
    repeat_factors,
    share_of_pictures,
)


def random_labels(seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    chances = np.array([0.6, 0.25, 0.1, 0.04, 0.01, 0.0])
    return [random.choice(6, random.integers(0, 8), p=chances).tolist() for _ in range(300)]


def slow_factors(labels: Sequence[Sequence[int]], threshold: float) -> list[float]:
    """LVIS' definition, word by word."""
    factors = []
    for picture in labels:
        of_classes = [1.0]
        for label in picture:
            share = sum(label in other for other in labels) / len(labels)
            of_classes.append(max(1.0, math.sqrt(threshold / share)))
        factors.append(max(of_classes))
    return factors


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.001, 0.05, 1.0])
def test_repeat_factors_are_those_of_lvis(seed: int, threshold: float) -> None:
    labels = random_labels(seed)
    found = repeat_factors(labels, 6, threshold)
    assert found == pytest.approx(slow_factors(labels, threshold))
    assert (found >= 1).all()


def test_counts_and_shares_are_of_objects_and_of_pictures() -> None:
    labels = [[0, 0, 2], [], [0], [2]]
    assert count_objects(labels, 4).tolist() == [3, 0, 2, 0]
    assert share_of_pictures(labels, 4).tolist() == [0.5, 0, 0.5, 0]


def test_weights_balance_within_bounds_and_keep_the_mean() -> None:
    counts = np.array([10_000, 400, 100, 1, 0])
    weights = balancing_weights(counts)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    assert weights[1] / weights[0] == pytest.approx(5.0)
    assert weights[2] / weights[0] == weights[3] / weights[0] == pytest.approx(10.0)
    assert balancing_weights(np.array([7, 7])).tolist() == [1.0, 1.0]
    assert balancing_weights(np.array([0, 0])).tolist() == [1.0, 1.0]


def test_labels_are_those_of_the_training_sample() -> None:
    shapes = Shapes(6)
    for labels, index in zip(read_labels(shapes), range(6), strict=True):
        assert sorted(labels) == sorted(shapes.sample(index)["labels"].tolist())
    some = shapes.select([4, 1])
    assert read_labels(some) == [shapes.labels(4), shapes.labels(1)]


@pytest.mark.parametrize("kind", ["instances", "panoptic", "label maps"])
def test_labels_of_real_data_are_those_of_the_training_samples(kind: str, shared_data) -> None:
    from mask2former.data import CocoInstances, CocoPanoptic
    from mask2former.data.class_lists import read_classes

    panoptic, camvid = shared_data / "coco_panoptic", shared_data / "camvid"
    match kind:
        case "instances":
            data = CocoInstances(panoptic / "images/val", panoptic / "instances_val.json")
        case "panoptic":
            data = CocoPanoptic(panoptic / "images/val", panoptic / "panoptic_val.json")
        case _:
            classes = read_classes("classes.json", camvid)
            folders = camvid / "images/val", camvid / "labels/val"
            data = LabelMaps(*folders, classes, ignore=(11,))
    for index in range(12):
        assert sorted(data.labels(index)) == sorted(data.sample(index)["labels"].tolist())
