"""Panoptic quality the way panopticapi does it: one process, one pair of PNG files at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mask2former.structures import Segment, TrueSegment

OFFSET = 256**3
VOID = 0


class Filed(NamedTuple):
    """A predicted and a true map in files, and what their ids are."""

    guess: Path
    segments: list[Segment]
    true: Path
    regions: list[TrueSegment]


def write_ids(path: Path, ids: np.ndarray) -> None:
    """An id is red + 256 green + 256^2 blue."""
    Image.fromarray(np.stack([ids >> 8 * k & 255 for k in range(3)], -1).astype(np.uint8)).save(
        path
    )


def read_ids(path: Path) -> np.ndarray:
    """Read a map (H, W) back."""
    colors = np.array(Image.open(path), dtype=np.uint32)
    return colors[..., 0] + 256 * colors[..., 1] + 256 * 256 * colors[..., 2]


def panoptic_quality(pictures: Iterable[Filed]) -> dict[str, float]:
    """PQ, SQ and RQ, the mean over the classes that occur."""
    iou: Counter[int] = Counter()
    matched: Counter[int] = Counter()
    unmatched: Counter[int] = Counter()
    for picture in pictures:
        count(picture, iou, matched, unmatched)
    rows = []
    for label in matched.keys() | unmatched.keys():
        weight = matched[label] + 0.5 * unmatched[label]
        quality = iou[label] / max(matched[label], 1)
        rows.append((iou[label] / weight, quality, matched[label] / weight))
    return dict(zip(("PQ", "SQ", "RQ"), np.mean(rows, axis=0).tolist(), strict=True))


def count(picture: Filed, iou: Counter, matched: Counter, unmatched: Counter) -> None:
    """Add what one pair of maps has of every class."""
    guess, true = read_ids(picture.guess), read_ids(picture.true)
    areas = dict(zip(*np.unique(guess, return_counts=True), strict=True))
    both = true.astype(np.uint64) * OFFSET + guess.astype(np.uint64)
    keys, counts = np.unique(both, return_counts=True)
    shared = {
        (int(key) // OFFSET, int(key) % OFFSET): int(number)
        for key, number in zip(keys, counts, strict=True)
    }
    segments = {segment.id: segment for segment in picture.segments}
    regions = {region.id: region for region in picture.regions}
    found: set[tuple[str, int]] = set()
    for (t, g), common in shared.items():
        if t not in regions or g not in segments or regions[t].is_crowd:
            continue
        if regions[t].label != segments[g].label:
            continue
        union = regions[t].area + areas[g] - common - shared.get((VOID, g), 0)
        if common / union > 0.5:
            matched[segments[g].label] += 1
            iou[segments[g].label] += common / union
            found |= {("true", t), ("guess", g)}
    crowds = {region.label: region.id for region in picture.regions if region.is_crowd}
    for region in picture.regions:
        if not region.is_crowd and ("true", region.id) not in found:
            unmatched[region.label] += 1
    for segment in picture.segments:
        crowd = shared.get((crowds[segment.label], segment.id), 0) if segment.label in crowds else 0
        excused = shared.get((VOID, segment.id), 0) + crowd
        if ("guess", segment.id) not in found and excused / areas[segment.id] <= 0.5:
            unmatched[segment.label] += 1
