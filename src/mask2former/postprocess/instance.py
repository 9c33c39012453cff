"""Scored instances: the best (query, class) pairs, each with its mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mask2former.postprocess.tiles import cut, find_positive
from mask2former.structures import BoxedMask, Instances, Prediction, Sizes


class Pairs(NamedTuple):
    """Queries with a class each, the surest first."""

    queries: Tensor  # (N,)
    labels: Tensor  # (N,)
    scores: Tensor  # (N,) class probabilities


def instances(
    prediction: Prediction,
    sizes: Sizes,
    *,
    is_thing: Tensor,
    max_detections: int = 100,
    threshold: float = 0.0,
) -> Instances:
    """Official rules for pictures: the top pairs over Q x K, then things only.

    Score = class probability x mean mask probability inside the mask. A query may appear with
    several classes. Takes the prediction of one picture (batch of 1); `is_thing` (K,) bool.
    Instances below `threshold` are left out; as no score exceeds its class probability, most of
    their masks are never made.
    """
    pairs = _best_pairs(prediction, is_thing, max_detections, threshold)
    masks, quality, row = _pack(prediction, pairs.queries, sizes)
    scores = (pairs.scores * quality.to(pairs.scores.device)[row]).cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= threshold]
    boxed = [masks[place] for place in row.cpu().numpy()[order].tolist()]
    labels, scores = pairs.labels.cpu().numpy()[order], scores[order]
    frames = prediction.mask_features.shape[1]
    return Instances(boxed, labels, scores, (frames, *sizes.original))


def tracks(
    prediction: Prediction,
    sizes: Sizes,
    *,
    is_thing: Tensor,
    max_detections: int = 10,
    threshold: float = 0.0,
) -> Instances:
    """Official rules for clips (2112.10764): as `instances`, scored by the class probability alone.

    A query is one object in all frames. Takes the prediction of one clip (batch of 1).
    """
    pairs = _best_pairs(prediction, is_thing, max_detections, threshold)
    masks, _, row = _pack(prediction, pairs.queries, sizes)
    labels, scores = pairs.labels.cpu().numpy(), pairs.scores.cpu().numpy()
    frames = prediction.mask_features.shape[1]
    boxed = [masks[place] for place in row.tolist()]
    return Instances(boxed, labels, scores, (frames, *sizes.original))


def _best_pairs(
    prediction: Prediction, is_thing: Tensor, max_detections: int, threshold: float
) -> Pairs:
    """The likeliest pairs; of these the things that reach the threshold."""
    classes = prediction.class_logits[0].float().softmax(-1)[:, :-1]
    count = min(max_detections, classes.numel())
    scores, flat = classes.flatten().topk(count)
    labels = flat % classes.shape[1]
    keep = is_thing.to(labels.device)[labels] & (scores >= threshold)
    return Pairs((flat // classes.shape[1])[keep], labels[keep], scores[keep])


def _pack(
    prediction: Prediction, queries: Tensor, sizes: Sizes
) -> tuple[list[BoxedMask], Tensor, Tensor]:
    """Masks (M), the mean probability inside each (M,), and each query's row.

    M is the number of different queries: each mask is made once, where it may be above 0.
    """
    shown, row = queries.unique(return_inverse=True)
    pieces: list[list[BoxedMask]] = [[] for _ in range(shown.shape[0])]
    inside, area = prediction.mask_features.new_zeros((2, shown.shape[0]), dtype=torch.float32)
    for strip in cut(prediction, sizes, queries=shown):
        some = find_positive(strip.small)
        rows = strip.rows.picture
        masks = area.new_zeros(
            (some.shape[0], rows.stop - rows.start, sizes.original[1]), dtype=torch.bool
        )
        for tile in strip._replace(small=strip.small[some]).tiles():
            there = find_positive(tile.small)
            logits = tile.logits(there)
            on = logits > 0
            masks[there, :, tile.columns.picture] = on
            area[some[there]] += on.sum((1, 2))
            inside[some[there]] += logits.sigmoid_().mul_(on).sum((1, 2))
        corner = (strip.frame, rows.start, 0)
        for query, mask in zip(some.tolist(), masks.cpu().numpy(), strict=True):
            pieces[query].append(BoxedMask.of(mask[None], corner))
    return [BoxedMask.union(masks) for masks in pieces], inside / (area + 1e-6), row
