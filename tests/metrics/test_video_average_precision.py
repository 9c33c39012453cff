"""Video AP against YouTube-VIS's evaluation, written out frame by frame without stacked masks."""

from __future__ import annotations

import numpy as np
import pytest

from mask2former import rle
from mask2former.categories import Categories
from mask2former.metrics import AveragePrecision, for_task
from mask2former.metrics.average_precision import CLIP_SIDES, IMAGE_SIDES
from mask2former.structures import Instances, TrueInstance, Truth

TWO = Categories.from_json([{"id": 4, "name": "cat"}, {"id": 8, "name": "dog"}])
HEIGHT, WIDTH, SIDES = 40, 50, (8, 14)
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)

Track = tuple[int, float, np.ndarray]  # label, score, (T, H, W)
Clip = tuple[list[Track], list[Track]]  # predicted, true


def random_clip(rng: np.random.Generator) -> Clip:
    """Boxes that drift, hide in some frames, and are found more or less well, or not, or twice."""
    frames = int(rng.integers(1, 5))
    true, predicted = [], []
    for _ in range(rng.integers(0, 5)):
        side, label = int(rng.integers(4, 20)), int(rng.integers(2))
        top, left = rng.integers(0, 20, 2)
        mask = np.zeros((frames, HEIGHT, WIDTH), bool)
        for t in range(frames):
            if t == 0 or rng.random() < 0.7:
                mask[t, top + t : top + t + side, left + 2 * t : left + 2 * t + side] = True
        true.append((label, 1.0, mask))
        for _ in range(rng.integers(0, 3)):
            shifts = rng.integers(-3, 4, (frames, 2))
            found = np.stack([np.roll(m, s, (0, 1)) for m, s in zip(mask, shifts, strict=True)])
            guess = label if rng.random() < 0.8 else 1 - label
            predicted.append((guess, round(rng.random(), 2), found))
    return predicted, true


def in_space_and_time(one: np.ndarray, other: np.ndarray) -> float:
    """The intersections of all frames over the unions of all frames."""
    intersections = sum(int((a & b).sum()) for a, b in zip(one, other, strict=True))
    unions = sum(int((a | b).sum()) for a, b in zip(one, other, strict=True))
    return intersections / unions if unions else 0.0


def mean_area(mask: np.ndarray) -> float:
    areas = [int(frame.sum()) for frame in mask if frame.any()]
    return sum(areas) / len(areas) if areas else 0.0


def found_or_not(
    clip: Clip, label: int, threshold: float, area: tuple[float, float], limit: int
) -> tuple[list[tuple[float, bool]], int]:
    """(score, is right) of the detections that count, and how many tracks count."""
    predicted = sorted((t for t in clip[0] if t[0] == label), key=lambda t: -t[1])[:limit]
    true = [t for t in clip[1] if t[0] == label]
    counts = [area[0] <= mean_area(mask) <= area[1] for _, _, mask in true]
    taken: set[int] = set()
    outcomes = []
    for _, score, mask in predicted:
        best, chosen = threshold, None
        for counted in (True, False):  # tracks outside the range only where none inside fits
            for number, (_, _, other) in enumerate(true):
                overlap = in_space_and_time(mask, other)
                if counts[number] == counted and number not in taken and overlap >= best:
                    best, chosen = overlap, number
            if chosen is not None:
                break
        if chosen is not None:
            taken.add(chosen)
            if counts[chosen]:
                outcomes.append((score, True))
        elif area[0] <= mean_area(mask) <= area[1]:
            outcomes.append((score, False))
    return outcomes, sum(counts)


def average_precision(
    clips: list[Clip], area: tuple[float, float], thresholds: np.ndarray, limit: int
) -> float:
    """The mean over classes and thresholds of the 101-point interpolated precision."""
    values = []
    for label in range(2):
        for threshold in thresholds:
            parts = [found_or_not(clip, label, threshold, area, limit) for clip in clips]
            tracks = sum(count for _, count in parts)
            if tracks == 0:
                continue
            outcomes = [outcome for part, _ in parts for outcome in part]
            right = np.array([r for _, r in sorted(outcomes, key=lambda o: -o[0])], bool)
            recall = right.cumsum() / tracks
            precision = right.cumsum() / np.arange(1, len(right) + 1)
            values += [precision[recall >= wanted].max(initial=0.0) for wanted in RECALLS]
    return float(np.mean(values)) if values else float("nan")


def as_instances(tracks: list[Track]) -> Instances:
    ranked = sorted(tracks, key=lambda t: -t[1])
    labels, scores, masks = zip(*ranked, strict=True) if ranked else ((), (), ())
    frames = len(masks[0]) if masks else 1
    pixels = np.array(masks, bool).reshape(-1, frames, HEIGHT, WIDTH)
    return Instances.of_masks(pixels, np.array(labels, int), np.array(scores, np.float32))


def as_truth(tracks: list[Track], frames: int) -> Truth:
    return Truth(
        (HEIGHT, frames * WIDTH),
        instances=[
            TrueInstance(rle.encode_clip(mask), label, mean_area(mask), is_crowd=False)
            for label, _, mask in tracks
        ],
    )


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("limit", [2, 10])
def test_figures_are_those_of_youtube_vis(backend: str, limit: int) -> None:
    rng = np.random.default_rng(4)
    clips = [random_clip(rng) for _ in range(25)]
    metric = AveragePrecision(TWO, limit, backend=backend, sides=SIDES)
    for predicted, true in clips:
        if predicted:
            metric.update(as_instances(predicted), as_truth(true, len(predicted[0][2])))
        elif true:
            size = (len(true[0][2]), HEIGHT, WIDTH)
            nothing = Instances([], np.zeros(0, int), np.zeros(0, np.float32), size)
            metric.update(nothing, as_truth(true, len(true[0][2])))
    small, large = (side**2 for side in SIDES)
    expected = {
        "AP": average_precision(clips, (0, 1e10), THRESHOLDS, limit),
        "AP50": average_precision(clips, (0, 1e10), THRESHOLDS[:1], limit),
        "AP75": average_precision(clips, (0, 1e10), THRESHOLDS[5:6], limit),
        "AP_small": average_precision(clips, (0, small), THRESHOLDS, limit),
        "AP_medium": average_precision(clips, (small, large), THRESHOLDS, limit),
        "AP_large": average_precision(clips, (large, 1e10), THRESHOLDS, limit),
    }
    found = metric.compute()
    assert 0.05 < expected["AP"] < 0.95
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_rules_choose_the_sides_and_say_so() -> None:
    assert CLIP_SIDES == (128, 256)
    assert IMAGE_SIDES == (32, 96)
    assert "YouTube-VIS" in for_task("instance", TWO, 10, rules="youtube_vis").protocol
    assert "COCO" in for_task("instance", TWO, 10).protocol
