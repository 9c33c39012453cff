"""How far a mask is from the truth: each loss pointwise, and pairwise as a matching cost.

All take logits; the truth may be soft. Pointwise: (M, P), (M, P) -> (M,). Pairwise:
(..., Q, P), (N, P) -> (..., Q, N). Pairwise equals pointwise for every pair (tested).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # MaskFormer's, after RetinaNet


@dataclass(frozen=True)
class MaskLoss:
    """One loss in its two forms."""

    pointwise: Callable[[Tensor, Tensor], Tensor]
    pairwise: Callable[[Tensor, Tensor], Tensor]


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(-1)


def _cross_entropy_pairs(logits: Tensor, truth: Tensor) -> Tensor:
    # bce(x, t) = softplus(x) - x * t: one product instead of two
    return (F.softplus(logits).sum(-1, keepdim=True) - logits @ truth.T) / truth.shape[-1]


def _dice(logits: Tensor, truth: Tensor) -> Tensor:
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum(-1)
    return 1 - (overlap + 1) / (probability.sum(-1) + truth.sum(-1) + 1)


def _dice_pairs(logits: Tensor, truth: Tensor) -> Tensor:
    probability = logits.sigmoid()
    overlap = 2 * (probability @ truth.T)
    return 1 - (overlap + 1) / (probability.sum(-1, keepdim=True) + truth.sum(-1) + 1)


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    on, off = _focal_sides(logits)
    return (on * truth + off * (1 - truth)).mean(-1)


def _focal_pairs(logits: Tensor, truth: Tensor) -> Tensor:
    on, off = _focal_sides(logits)
    return (off.sum(-1, keepdim=True) + (on - off) @ truth.T) / truth.shape[-1]


def _focal_sides(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The focal loss where the truth is 1 and where it is 0; linear between the two."""
    probability = logits.sigmoid()
    on = FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * F.softplus(-logits)
    off = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * F.softplus(logits)
    return on, off


cross_entropy = MaskLoss(_cross_entropy, _cross_entropy_pairs)
dice = MaskLoss(_dice, _dice_pairs)
focal = MaskLoss(_focal, _focal_pairs)
