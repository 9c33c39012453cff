"""Pictures of what the loss will see: training samples before and after augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mask2former.categories import Categories
from mask2former.config import Task
from mask2former.data import Dataset
from mask2former.data.transforms import Transform
from mask2former.render import as_picture, overlay, side_by_side
from mask2former.structures import IGNORE, Instances, Panoptic, Result, Sample, Segment, SemanticMap


def choose(candidates: Sequence[int], count: int, seed: int) -> list[int]:
    """Some of the pictures, always the same ones, in their order."""
    if len(candidates) <= count:
        return list(candidates)
    places = np.random.default_rng(seed).choice(len(candidates), count, replace=False)
    return sorted(candidates[place] for place in places)


def draw_sample(
    dataset: Dataset, index: int, augment: Transform, task: Task, *, seed: int
) -> Image.Image:
    """A training picture with its targets, beside the same as the network will get it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + index)
        before = dataset.sample(index)
        after = augment(before.copy())
    drawn = [draw_targets(sample, dataset.categories, task) for sample in (before, after)]
    return side_by_side(drawn, ["as it is", "as the loss sees it"])


def draw_targets(sample: Sample, categories: Categories, task: Task) -> Image.Image:
    """The first frame of a sample with all its targets, named."""
    image = sample["image"][0].permute(1, 2, 0).numpy()
    return overlay(np.ascontiguousarray(image), as_result(sample, categories, task), categories)


def as_result(sample: Sample, categories: Categories, task: Task) -> Result:
    """The targets of a sample's first frame as a result, which can be drawn."""
    ids, labels = sample["ids"].numpy()[:, 0], sample["labels"].numpy()
    if task == "semantic":
        label_of_id = np.array([IGNORE, *labels], np.int16)
        return SemanticMap(label_of_id[ids[:1]])
    if task == "panoptic" and len(ids) == 1:
        areas = np.bincount(ids.ravel(), minlength=len(labels) + 1)[1:].tolist()
        segments = [
            Segment(number, label, 1.0, area, categories[label].is_thing)
            for number, (label, area) in enumerate(
                zip(labels.tolist(), areas, strict=True), start=1
            )
        ]
        return Panoptic(ids, segments)
    masks = np.zeros((len(labels), 1, *ids.shape[1:]), bool)
    for layer in ids:
        for number in np.unique(layer[layer > 0]).tolist():
            masks[number - 1, 0] |= layer == number
    return Instances.of_masks(masks, labels, np.ones(len(labels), np.float32))


def draw_pair(first: np.ndarray, second: np.ndarray, titles: Sequence[str]) -> Image.Image:
    """Two bare pictures of one height."""
    height = max(200, min(400, first.shape[0]))
    pictures = [
        Image.fromarray(as_picture(pixels)).resize(
            (max(1, round(pixels.shape[1] * height / pixels.shape[0])), height)
        )
        for pixels in (first, second)
    ]
    return side_by_side(pictures, [Path(title).name for title in titles])
