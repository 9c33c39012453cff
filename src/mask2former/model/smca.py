"""Spatially modulated co-attention (Gao et al., SMCA, ICCV 2021): table 4c."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mask2former.model.transformer_decoder import CrossAttention, Memory, as_logits, of_heads

SMALLEST = 0.01
"""Of an extent, in sides of the picture: less would be one token or none."""
FIRST = 0.54  # softplus of it is 1: the prior begins as wide as the picture


class ModulatedAttention(CrossAttention):
    """Queries read the picture around a place of their own.

    A Gaussian for each query and head multiplies the attention before it is normed: its logarithm
    is added to the logits (their section 3.2). The query tells its centre, which the heads shift,
    and for each head how far it reaches.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        self.prior = GaussianPrior(dim, heads)

    def forward(
        self, queries: Tensor, position: Tensor, memory: Memory, allowed: Tensor | None
    ) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        placed = queries + position
        prior = self.prior(placed, memory.places)
        if allowed is not None:
            prior = prior + as_logits(of_heads(allowed))
        read = self.attention(placed, memory.keys, memory.values, prior.to(queries.dtype))
        return self.norm(queries + self.dropout(read))


class GaussianPrior(nn.Module):
    """Where each query and head expects what it looks for."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.centre = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 2))
        self.shift = nn.Linear(dim, 2 * heads)
        self.extent = nn.Linear(dim, 2 * heads)
        for linear in (self.shift, self.extent):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.constant_(self.extent.bias, FIRST)

    def forward(self, queries: Tensor, places: Tensor) -> Tensor:
        """queries (B, Q, C), places (S, 2) -> the logarithm of the Gaussians (B, heads, Q, S)."""
        with torch.autocast(queries.device.type, enabled=False):  # rounded places are others
            centre, extent = self.place(queries)
        away = (places - centre.unsqueeze(-2)) / extent.unsqueeze(-2)  # (B, heads, Q, S, 2)
        return -away.square().sum(-1)

    def place(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Centres and extents (B, heads, Q, 2), x, y, both in sides of the picture."""
        centre = self.centre(queries).sigmoid().unsqueeze(1)
        shift, extent = (
            told(queries).unflatten(-1, (self.heads, 2)).transpose(1, 2)
            for told in (self.shift, self.extent)
        )
        return centre + shift, F.softplus(extent) + SMALLEST
