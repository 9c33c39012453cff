"""From 100 queries to a picture of 3000 x 4000, each task: extra peak memory beyond the result.

Each call has a process of its own. The two do not compute the same: transformers resizes masks
through 384 x 384, and makes all of them at the picture's size. Ours is held against the official
rules in `predict.py` and in the tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import get_args

import numpy as np
import torch
from torch.nn import functional as F
from transformers import Mask2FormerImageProcessor

from mask2former.config import Task
from mask2former.postprocess.instance import instances
from mask2former.postprocess.panoptic import panoptic
from mask2former.postprocess.semantic import resize_masks, semantic_map
from mask2former.structures import Instances, Panoptic, Prediction, SemanticMap, Sizes
from measure import CLASSES, Row, at_most, megabytes, run

QUERIES, CHANNELS = 100, 256
NETWORK, FEATURES = (800, 1067), (200, 272)
SMALL = (300, 400)
THINGS = 80


def make_prediction() -> Prediction:
    """Smooth masks and sure classes, so that all of the queries count."""
    torch.manual_seed(0)
    seeds = torch.randn(1, CHANNELS, 6, 8)
    features = F.interpolate(seeds, FEATURES, mode="bicubic")
    classes = torch.randn(1, QUERIES, CLASSES + 1)
    classes[0, torch.arange(QUERIES), torch.arange(QUERIES) % CLASSES] = 20.0
    return Prediction(classes, 0.1 * torch.randn(1, QUERIES, CHANNELS), features[:, None])


def prepare_ours(task: Task, size: tuple[int, int]) -> Callable[[], object]:
    """The call to be watched, after a small one."""
    prediction, is_thing = make_prediction(), torch.arange(CLASSES) < THINGS

    def call(original: tuple[int, int] = size) -> Instances | Panoptic | SemanticMap:
        sizes = Sizes(NETWORK, original)
        match task:
            case "semantic":
                return semantic_map(prediction, sizes, resize_masks)
            case "instance":
                return instances(prediction, sizes, is_thing=is_thing)
            case "panoptic":
                return panoptic(prediction, sizes, is_thing=is_thing)

    call(SMALL)
    return call


def prepare_theirs(task: Task, size: tuple[int, int]) -> Callable[[], object]:
    """The same of transformers, which has its masks multiplied out already."""
    prediction = make_prediction()
    output = SimpleNamespace(
        class_queries_logits=prediction.class_logits,
        masks_queries_logits=prediction.mask_logits().squeeze(2),
    )
    processor = Mask2FormerImageProcessor()
    rule = getattr(processor, f"post_process_{task}_segmentation")
    options = {"panoptic": {"label_ids_to_fuse": set(range(THINGS, CLASSES))}}.get(task, {})

    def call(original: tuple[int, int] = size) -> object:
        return rule(output, target_sizes=[original], **options)

    call(SMALL)
    return call


def result_megabytes(task: Task, size: tuple[int, int]) -> tuple[float, float]:
    """What the two results hold themselves: ours from the types, theirs a map (int64 or fp32)."""
    pixels = size[0] * size[1]
    found = prepare_ours(task, SMALL)()
    own = sum(array.nbytes for array in vars(found).values() if isinstance(array, np.ndarray))
    share = pixels / (SMALL[0] * SMALL[1])
    return own * share / 1e6, {"semantic": 8, "instance": 4, "panoptic": 4}[task] * pixels / 1e6


def seconds_of(call: Callable[[], object]) -> float:
    """Once: the second time is no different."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def collect(quick: bool) -> list[Row]:
    """All tasks, one thread; how long ours takes is told beside."""
    torch.set_num_threads(1)
    size = (600, 800) if quick else (3000, 4000)
    rows = []
    for task in get_args(Task):
        own, other = result_megabytes(task, size)
        with torch.inference_mode():
            took = [seconds_of(prepare(task, size)) for prepare in (prepare_ours, prepare_theirs)]
        rows.append(
            at_most(
                f"post-processing {task}, {QUERIES} queries to {size[0]}x{size[1]}, beyond result",
                megabytes(prepare_ours, task, size, result=own),
                megabytes(prepare_theirs, task, size, result=other),
                400.0,
                f"another rule (384x384) than ours; seconds: {took[0]:.1f}, theirs {took[1]:.1f}",
            )
        )
    return rows


if __name__ == "__main__":
    run("postprocess", collect)
