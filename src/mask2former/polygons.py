"""Masks as polygons, for tools that know no pixels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from contourpy import FillType, contour_generator

Ring = np.ndarray
"""Corners (P, 2) of a closed line: x to the right and y down, in pixels; none comes twice."""


def outlines(mask: np.ndarray) -> list[list[Ring]]:
    """The parts of a mask (H, W) bool, each its outer ring and then its holes, the largest first.

    The picture's upper left corner is (0, 0), the centre of its first pixel (0.5, 0.5). A ring runs
    half-way between the centres inside and outside: to fill every pixel whose centre it encloses
    gives the mask back. Taken as if y pointed up, outer rings turn left and holes turn right.
    """
    heights = np.pad(mask, 1).astype(np.float64)
    filled = contour_generator(z=heights, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    parts = [
        [_without_straight(points[start:stop] - 0.5) for start, stop in pairwise(ends)]
        for points, ends in zip(*filled, strict=True)
    ]
    return sorted(parts, key=lambda part: -area(part[0]))


def area(ring: Ring) -> float:
    """What a ring encloses, in pixels; negative where it turns right."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def joined(rings: list[Ring]) -> Ring:
    """One ring around all of them, for formats with one polygon an object.

    Each further ring is reached over a bridge without width, to the nearest corner and back.
    """
    whole, *others = rings
    for other in others:
        gaps = np.square(whole[:, None] - other).sum(axis=-1)
        here, there = np.unravel_index(np.argmin(gaps), gaps.shape)
        tour = np.concatenate([np.roll(other, -int(there), axis=0), other[there : there + 1]])
        whole = np.concatenate([whole[: here + 1], tour, whole[here:]])
    return whole


def _without_straight(ring: np.ndarray) -> Ring:
    """A ring without its repeated end and without the points where it goes straight on."""
    ring = ring[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
