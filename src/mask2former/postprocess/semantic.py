"""Semantic maps: every pixel takes the class with the largest sum of class x mask probability."""

from __future__ import annotations

import torch
from torch import Tensor

from mask2former.masks import crop_and_resize, make_pixels, resize
from mask2former.structures import Prediction, SemanticMap, Sizes

CLASS_CHUNK_PIXELS = 24_000_000


def semantic_map(prediction: Prediction, sizes: Sizes) -> SemanticMap:
    """Official rule for models trained on semantic maps: class scores are made, then resized.

    Takes the prediction of one picture or clip (batch of 1).
    """
    classes = prediction.class_logits[0].float().softmax(-1)[:, :-1]  # (Q, K)
    masks = prediction.mask_logits()[0].float()  # (Q, T, h, w)
    padded = (4 * masks.shape[-2], 4 * masks.shape[-1])
    labels = [
        _label_frame(classes, resize(masks[:, frame], padded).sigmoid(), sizes)
        for frame in range(masks.shape[1])
    ]
    return SemanticMap(torch.stack(labels).to(torch.int16).cpu().numpy())


def _label_frame(classes: Tensor, masks: Tensor, sizes: Sizes) -> Tensor:
    """The argmax of the class scores (K, H, W), a few classes at a time: (H, W)."""
    height, width = sizes.original
    step = max(1, CLASS_CHUNK_PIXELS // (height * width))
    best = labels = None
    for start in range(0, classes.shape[1], step):
        scores = torch.einsum("qk,qhw->khw", classes[:, start : start + step], masks)
        top, label = crop_and_resize(scores[None], sizes)[0].max(0)
        if best is None or labels is None:
            best, labels = top, label
        else:
            better = top > best
            best, labels = (
                torch.where(better, top, best),
                torch.where(better, label + start, labels),
            )
    assert labels is not None
    return labels


def semantic_map_at_original_size(prediction: Prediction, sizes: Sizes) -> SemanticMap:
    """Official rule for panoptic and instance models: masks are resized, then class scores made."""
    classes = prediction.class_logits[0].float().softmax(-1)[:, :-1]
    scores: Tensor | None = None
    for queries, logits in make_pixels(
        prediction.mask_embeddings[0].float(), prediction.mask_features[0].float(), sizes
    ):
        part = torch.einsum("qk,qthw->kthw", classes[queries], logits.sigmoid())
        scores = part if scores is None else scores.add_(part)
    assert scores is not None
    return SemanticMap(scores.argmax(0).to(torch.int16).cpu().numpy())
