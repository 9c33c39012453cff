"""What an annotated data set is like: how many pictures, how large, how many objects, of what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mask2former.data.dataset import Dataset
from mask2former.structures import Truth

LOOKED_AT = 300
"""Annotations that are read, spread evenly: enough for percentiles, seconds for any data set."""


class Statistics(NamedTuple):
    """Of a training set. Percentiles are over what was looked at."""

    pictures: int
    validation: int
    size: tuple[int, int]  # height, width: the medians
    objects: tuple[int, int, int]  # in a picture: 95 %, 99 %, the most
    side: float  # root of the area, of which a tenth of the things are smaller, in pixels; 0: none
    shares: dict[str, float]  # of the pictures that show each class
    things: int  # classes that can be counted

    @property
    def short(self) -> int:
        """The short edge of a usual picture."""
        return min(self.size)

    @property
    def stretch(self) -> float:
        """A usual picture's long edge over its short one."""
        return max(self.size) / min(self.size)


def survey(train: Dataset, validation: int) -> Statistics:
    """Look at a training set's annotations; no picture is decoded."""
    step = max(len(train) / LOOKED_AT, 1.0)
    chosen = sorted({int(i * step) for i in range(min(len(train), LOOKED_AT))})
    if not chosen:
        raise ValueError("the training set has no picture")
    truths = [train.truth(index) for index in chosen]
    labels = [train.labels(index) for index in chosen]
    things = train.categories.is_thing
    sides = np.array([side for truth in truths for side in measure_things(truth, things)])
    counts = [len(found) for found in labels]
    height, width = np.median([truth.size for truth in truths], axis=0).astype(int).tolist()
    return Statistics(
        pictures=len(train),
        validation=validation,
        size=(height, width),
        objects=(*np.percentile(counts, (95, 99)).round().astype(int).tolist(), max(counts)),
        side=float(np.percentile(sides, 10)) if sides.size else 0.0,
        shares={
            name: sum(label in found for found in labels) / len(labels)
            for label, name in enumerate(train.categories.names)
        },
        things=sum(things),
    )


def measure_things(truth: Truth, is_thing: Sequence[bool]) -> list[float]:
    """The roots of the areas of a picture's objects."""
    return [
        float(np.sqrt(region.area))
        for region in truth.segments or truth.instances or ()
        if not region.is_crowd and is_thing[region.label] and region.area > 0
    ]
