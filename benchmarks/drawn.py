"""Drawn predictions and truth for the metrics, as large and as many as on COCO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mask2former import rle
from mask2former.structures import (
    Instances,
    Panoptic,
    Segment,
    TrueInstance,
    TrueSegment,
    Truth,
)

SIZE = (480, 640)
DETECTIONS, OBJECTS, SEGMENTS = 100, 7, 12
NEAR = 7
"""Predictions of each true object, moved by some pixels; the others are anywhere."""


class Picture(NamedTuple):
    """Predictions and truth of one picture, for both metrics."""

    instances: Instances
    panoptic: Panoptic
    truth: Truth


def draw_picture(seed: int, classes: int, things: int) -> Picture:
    """One picture; its scores come from `score`."""
    random = np.random.default_rng(seed)
    instances, objects = draw_instances(random, things)
    panoptic, truth = draw_panoptic(random, classes)
    return Picture(instances, panoptic, replace(truth, instances=objects))


def score(pictures: Sequence[Picture], count: int) -> Iterator[tuple[Instances, Truth]]:
    """The pictures again and again, every time with other scores, some of them equal."""
    random = np.random.default_rng(0)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        scores = np.sort(random.uniform(size=DETECTIONS).round(3))[::-1].astype(np.float32)
        yield replace(picture.instances, scores=scores), picture.truth


def draw_instances(
    random: np.random.Generator, things: int
) -> tuple[Instances, list[TrueInstance]]:
    """Objects, and 100 predictions of which half are near one."""
    true, labels = draw_ellipses(random, OBJECTS), random.integers(0, things, OBJECTS)
    shifts = random.integers(0, 12, NEAR * OBJECTS)
    near = [np.roll(true[i % OBJECTS], shift, axis=1) for i, shift in enumerate(shifts)]
    others = DETECTIONS - len(near)
    masks = np.concatenate([near, draw_ellipses(random, others)])
    guesses = np.concatenate([np.tile(labels, NEAR), random.integers(0, things, others)])
    objects = [
        TrueInstance(rle.encode(mask), int(label), float(mask.sum()), is_crowd=False)
        for mask, label in zip(true, labels, strict=True)
    ]
    scores = np.zeros(DETECTIONS, np.float32)
    return Instances.of_masks(masks[:, None], guesses, scores), objects


def draw_ellipses(random: np.random.Generator, count: int) -> np.ndarray:
    """Masks (count, H, W), most of them small."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    masks = np.empty((count, *SIZE), bool)
    for mask in masks:
        y, x = random.uniform(0, SIZE)
        height, width = 8 + 100 * random.uniform(size=2) ** 3
        mask[:] = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
    return masks


def draw_panoptic(random: np.random.Generator, classes: int) -> tuple[Panoptic, Truth]:
    """Cells around some centres, a crowd among them, below a strip of void; predicted beside."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    centres = random.uniform(0, SIZE, (SEGMENTS, 2))
    distances = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in centres]
    guess = (np.argmin(distances, axis=0) + 1).astype(np.int32)
    true = np.roll(guess, 25, axis=1)
    true[:8] = 0
    labels = random.integers(0, classes, SEGMENTS + 1).tolist()
    found, regions = (np.unique(ids[ids > 0]).tolist() for ids in (guess, true))
    segments = [
        Segment(i, labels[i - (i % 5 == 0)], 1.0, np.count_nonzero(guess == i), is_thing=True)
        for i in found
    ]
    objects = [
        TrueSegment(i, labels[i], np.count_nonzero(true == i), is_crowd=i == SEGMENTS)
        for i in regions
    ]
    return Panoptic(guess[None], segments), Truth(SIZE, panoptic=true, segments=objects)
