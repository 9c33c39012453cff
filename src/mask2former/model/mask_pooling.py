"""Mask pooling (Zhang et al., K-Net, NeurIPS 2021) in place of cross-attention: table 4c."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mask2former.model.transformer_decoder import CrossAttention, of_heads
from mask2former.tracing import in_fp32

NEEDS_MASKS = "mask pooling needs masks: it goes with `inside_own_mask`"


class MaskPooling(CrossAttention):
    """Queries take the mean of the picture under their own masks."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        self.attention = MaskPool(dim)


class MaskPool(nn.Module):
    """The mean of the values that a query may read, and a projection; called as `Attention` is.

    What a query looks like plays no part: all tokens under its mask count alike.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
        """value (B, S, C), allowed (B, Q, S) bool: at least one of each query's -> (B, Q, C)."""
        assert allowed is not None, NEEDS_MASKS
        dtype = torch.promote_types(value.dtype, torch.float32)  # a sum over all tokens needs room
        with in_fp32(value.device):
            total = allowed.to(dtype) @ value.to(dtype)
        return self.out_proj(total / allowed.sum(-1, keepdim=True))

    def weigh(self, query: Tensor, key: Tensor, allowed: Tensor | None) -> Tensor:
        """How much of what each query reads comes from each token: (B, 1, Q, S), sums to 1."""
        assert allowed is not None, NEEDS_MASKS
        allowed = of_heads(allowed)
        return allowed / allowed.sum(-1, keepdim=True)
