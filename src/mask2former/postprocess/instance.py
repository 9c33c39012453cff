"""Scored instances: the best (query, class) pairs, each with its mask."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mask2former.masks import make_pixels
from mask2former.structures import Instances, Prediction, Sizes


def instances(
    prediction: Prediction,
    sizes: Sizes,
    *,
    is_thing: Tensor,
    max_detections: int = 100,
    threshold: float = 0.0,
) -> Instances:
    """Official rules: the top pairs over Q x K, then things only.

    Score = class probability x mean mask probability inside the mask. A query may appear with
    several classes. Takes the prediction of one picture or clip (batch of 1); `is_thing` (K,) bool.
    Clips are scored as pictures are. Instances below `threshold` are left out; as no score exceeds
    its class probability, most of their masks are never made.
    """
    classes = prediction.class_logits[0].float().softmax(-1)[:, :-1]
    count = min(max_detections, classes.numel())
    scores, flat = classes.flatten().topk(count)
    labels = flat % classes.shape[1]
    keep = is_thing.to(labels.device)[labels] & (scores >= threshold)
    scores, labels, queries = scores[keep], labels[keep], (flat // classes.shape[1])[keep]
    shown, row = queries.unique(return_inverse=True)
    bits, quality = _pack(
        prediction.mask_embeddings[0, shown].float(), prediction.mask_features[0].float(), sizes
    )
    scores = (scores * quality.to(scores.device)[row]).cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= threshold]
    row = row.cpu().numpy()[order]
    frames = prediction.mask_features.shape[1]
    return Instances(
        bits[row], labels.cpu().numpy()[order], scores[order], (frames, *sizes.original)
    )


def _pack(embeddings: Tensor, features: Tensor, sizes: Sizes) -> tuple[np.ndarray, Tensor]:
    """Masks as packed bits (Q, bytes), and the mean probability inside each (Q,)."""
    pixels = features.shape[0] * sizes.original[0] * sizes.original[1]
    bits = np.zeros((embeddings.shape[0], (pixels + 7) // 8), dtype=np.uint8)
    quality = embeddings.new_zeros(embeddings.shape[0])
    for queries, logits in make_pixels(embeddings, features, sizes):
        masks = (logits > 0).flatten(1)
        inside = (logits.sigmoid().flatten(1) * masks).sum(1)
        quality[queries] = inside / (masks.sum(1) + 1e-6)
        bits[queries] = np.packbits(masks.cpu().numpy(), axis=1)
    return bits, quality
