"""How a network comes to its answer: where every layer may look, and where it looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mask2former.data.transforms import shorten
from mask2former.engine.predict import Predictor
from mask2former.masks import resize
from mask2former.model.mask2former import Mask2Former
from mask2former.model.mask_pooling import MaskPool
from mask2former.model.transformer_decoder import (
    Attention,
    MaskedTransformerDecoder,
    of_heads,
)
from mask2former.structures import Prediction


class Glance(NamedTuple):
    """One layer's cross-attention for the chosen queries, on the finest grid that it reads."""

    strides: tuple[int, ...]
    allowed: np.ndarray  # (Q, h, w) bool
    attention: np.ndarray  # (Q, h, w), the mean over heads; sums to 1 with what lies in the padding
    inside: np.ndarray  # (Q,) the share of the attention inside the query's final mask


class Insight(NamedTuple):
    """What became of the chosen queries, layer by layer."""

    queries: list[int]
    labels: list[int]
    scores: list[float]
    masks: np.ndarray  # (predictions, Q, h, w) logits at stride 4, without the padding
    glances: list[Glance]


@torch.inference_mode()
def look_inside(
    predictor: Predictor, image: np.ndarray, queries: Sequence[int] = (), *, most: int = 3
) -> Insight:
    """Follow some queries through the decoder; without names the `most` surest ones.

    `image` (H, W, 3) uint8, or of the model's channels. The attention is the mean over the heads of
    what the cross-attention of each layer really computes (paper, section 3.2.1).
    """
    if not isinstance(predictor.model, Mask2Former):
        raise ValueError(
            "an exported model does not show what its layers do; explain takes the model that it "
            "was made from"
        )
    if predictor.takes_clips:
        raise ValueError("this model follows objects through clips; explain takes picture models")
    test = predictor.card.config.test
    size = shorten(image.shape[:2], test.short_edge, test.max_size)
    given = predictor.prepare(image, size)
    predictions: list[Prediction] = predictor.model(given)
    scores, labels = predictions[-1].class_logits[0].softmax(-1)[:, :-1].max(-1)
    chosen = choose_queries(scores, queries, most)
    decoder = predictor.model.transformer_decoder
    assert isinstance(decoder, MaskedTransformerDecoder)
    seen = watch(decoder, predictor, given, chosen)
    logits = torch.stack([p.mask_logits()[0, chosen, 0] for p in predictions])
    final = (logits[-1] > 0).float()
    grid = given.shape[-2:]
    glances = [
        glance(strides, weights, allowed, final, grid, size)
        for strides, (weights, allowed) in zip(strides_of(decoder), seen, strict=True)
    ]
    height, width = (-(-side // 4) for side in size)
    return Insight(
        chosen,
        labels[chosen].tolist(),
        scores[chosen].tolist(),
        logits[..., :height, :width].cpu().numpy(),
        glances,
    )


def choose_queries(scores: Tensor, queries: Sequence[int], most: int) -> list[int]:
    """The queries asked for, or the surest."""
    count = scores.shape[0]
    for query in queries:
        if not 0 <= query < count:
            raise ValueError(f"there is no query {query}; the model has {count}, from 0 on")
    return list(queries) or scores.argsort(descending=True)[:most].tolist()


def strides_of(decoder: MaskedTransformerDecoder) -> list[tuple[int, ...]]:
    """What each layer reads."""
    return [decoder.levels[i % len(decoder.levels)] for i in range(len(decoder.layers))]


def watch(
    decoder: MaskedTransformerDecoder, predictor: Predictor, given: Tensor, chosen: list[int]
) -> list[tuple[Tensor, Tensor]]:
    """Of every layer's cross-attention the weights (Q, S) and what was allowed (Q, S)."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(module: Attention | MaskPool, inputs: tuple[Any, ...]) -> None:
        query, key, _, allowed = inputs
        open_to = torch.ones(len(chosen), key.shape[1], dtype=torch.bool, device=key.device)
        if allowed is not None:
            allowed = of_heads(allowed)[:, :, chosen]
            if allowed.dtype == torch.bool:  # logits close nothing
                open_to = allowed[0, 0]
        weights = module.weigh(query[:, chosen], key, allowed)
        seen.append((weights[0].mean(0), open_to))

    blocks = [layer.get_submodule("cross.attention") for layer in decoder.layers]
    hooks = [block.register_forward_pre_hook(note) for block in blocks]
    try:
        predictor.model(given)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def glance(
    strides: tuple[int, ...],
    weights: Tensor,
    allowed: Tensor,
    final: Tensor,
    padded: Sequence[int],
    size: tuple[int, int],
) -> Glance:
    """Lay one layer's tokens out as maps, all on the finest grid, cut to the picture."""
    finest = min(strides)
    height, width = (side // finest for side in padded)
    attention = weights.new_zeros(weights.shape[0], height, width)
    open_to = torch.zeros_like(attention, dtype=torch.bool)
    shapes = [(padded[0] // stride, padded[1] // stride) for stride in strides]
    counts = [h * w for h, w in shapes]
    parts = zip(strides, shapes, weights.split(counts, 1), allowed.split(counts, 1), strict=True)
    for stride, shape, some, may in parts:
        step = stride // finest
        spread = some.unflatten(1, shape).repeat_interleave(step, 1).repeat_interleave(step, 2)
        attention += spread / step**2
        wide = may.unflatten(1, shape).repeat_interleave(step, 1).repeat_interleave(step, 2)
        open_to |= wide
    inside = (attention * resize(final, (height, width))).flatten(1).sum(1)
    rows, columns = (-(-side // finest) for side in size)
    return Glance(
        strides,
        open_to[:, :rows, :columns].cpu().numpy(),
        attention[:, :rows, :columns].cpu().numpy(),
        inside.cpu().numpy(),
    )
