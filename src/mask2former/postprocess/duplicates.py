"""Instances that are found twice, which the paper's rules keep."""

from __future__ import annotations

import numpy as np

from mask2former.structures import BoxedMask, Instances


def without_duplicates(found: Instances, limit: float) -> Instances:
    """Leave out what overlaps a better instance of its class by more than `limit` (IoU, 0..1).

    Greedy, best first, as box detectors do it. Masks are compared only where their boxes meet and
    their areas are near enough.
    """
    kept: list[int] = []
    boxes = np.array([_box(mask) for mask in found.boxed]).reshape(-1, 6)
    areas = np.array([mask.area for mask in found.boxed])
    for index in range(len(found.boxed)):
        others = np.array(kept, int)
        others = others[found.labels[others] == found.labels[index]]
        meets = (boxes[others, :3] < boxes[index, 3:]) & (boxes[index, :3] < boxes[others, 3:])
        small = np.minimum(areas[others], areas[index])
        large = np.maximum(areas[others], areas[index])
        others = others[meets.all(1) & (small > limit * large)]
        mask = found.boxed[index]
        if all(_overlap(mask, found.boxed[other]) <= limit for other in others):
            kept.append(index)
    return found.select(np.array(kept, int))


def _box(mask: BoxedMask) -> tuple[int, ...]:
    """First corner and, one beyond, last: frame, row and column of each."""
    return (*mask.corner, *(c + n for c, n in zip(mask.corner, mask.size, strict=True)))


def _overlap(one: BoxedMask, other: BoxedMask) -> float:
    """Intersection over union."""
    first = np.maximum(one.corner, other.corner)
    last = np.minimum(_box(one)[3:], _box(other)[3:])
    both = int((_part(one, first, last) & _part(other, first, last)).sum())
    return both / (one.area + other.area - both)


def _part(mask: BoxedMask, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The pixels between two corners that lie in the mask's box."""
    sides = zip(first - mask.corner, last - mask.corner, strict=True)
    return mask.pixels[tuple(slice(start, end) for start, end in sides)]
