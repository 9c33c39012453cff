"""Scored instances: the best (query, class) pairs, each with its mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from mask2former.masks import make_pixels
from mask2former.structures import Instances, Prediction, Sizes

WHOLE_BYTES = 8
"""So many frames of packed pixels end with a byte, whatever their size."""


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
    bits, quality, row = _pack(prediction, pairs.queries, sizes)
    scores = (pairs.scores * quality.to(pairs.scores.device)[row]).cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= threshold]
    row = row.cpu().numpy()[order]
    labels, scores = pairs.labels.cpu().numpy()[order], scores[order]
    frames = prediction.mask_features.shape[1]
    return Instances(bits[row], labels, scores, (frames, *sizes.original))


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
    bits, _, row = _pack(prediction, pairs.queries, sizes)
    labels, scores = pairs.labels.cpu().numpy(), pairs.scores.cpu().numpy()
    frames = prediction.mask_features.shape[1]
    return Instances(bits[row.cpu().numpy()], labels, scores, (frames, *sizes.original))


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
) -> tuple[np.ndarray, Tensor, Tensor]:
    """Masks as packed bits (M, bytes), the mean probability inside each (M,), and each query's row.

    M is the number of different queries: each mask is made once.
    """
    shown, row = queries.unique(return_inverse=True)
    embeddings = prediction.mask_embeddings[0, shown].float()
    features = prediction.mask_features[0].float()
    pixels = sizes.original[0] * sizes.original[1]
    bits = np.zeros((shown.shape[0], -(-features.shape[0] * pixels // 8)), dtype=np.uint8)
    inside, area = embeddings.new_zeros(2, shown.shape[0])
    for start in range(0, features.shape[0], WHOLE_BYTES):
        here = slice(start * pixels // 8, (start + WHOLE_BYTES) * pixels // 8)
        for some, logits in make_pixels(embeddings, features[start : start + WHOLE_BYTES], sizes):
            masks = (logits > 0).flatten(1)
            # in place, since the logits of a huge picture are gigabytes
            inside[some] += logits.sigmoid_().flatten(1).mul_(masks).sum(1)
            area[some] += masks.sum(1)
            bits[some, here] = np.packbits(masks.cpu().numpy(), axis=1)
    return bits, inside / (area + 1e-6), row
