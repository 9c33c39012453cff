"""Masks that know where their query stands: for pictures of many like objects.

A mask is a product of a query with what the pixels look like, so objects that look alike can only
be told apart by place, and the paper's mask features hold that just as far as the backbone betrays
it. Here a query also says where its object is and how far it reaches: at pixel p,

    logit(p) = embedding . features(p) - sharpness . (p - centre)^2     centre = query + shift

which falls off with distance at any picture size and is the same wherever the object is. The square
is a sum of products of p's powers with the query's numbers, so that the powers are appended to the
mask features, the numbers to the embedding, and every identity of masks as products holds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mask2former.model.position import centres

UNIT = 16.0  # pixels
POWERS = 5  # x^2, y^2, x, y, 1
SAYS = 4  # sharpness and shift, in x and y


class PlacedMasks(nn.Module):
    """A pixel decoder whose mask features end in the powers of the pixel's place."""

    def __init__(self, pixel_decoder: nn.Module) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder

    def forward(self, features: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """As the pixel decoder inside, with `POWERS` more channels in the mask features."""
        mask_features, pyramid = self.pixel_decoder(features)
        batch, _, height, width = mask_features.shape
        y, x = (centres(count, 4, mask_features.device) / UNIT for count in (height, width))
        y, x = y[:, None].expand(height, width), x.expand(height, width)
        powers = torch.stack([x.square(), y.square(), x, y, torch.ones_like(x)])
        return torch.cat([mask_features.float(), powers.expand(batch, -1, -1, -1)], 1), pyramid


class PlacedMaskHead(nn.Module):
    """A mask head whose last `SAYS` numbers place the mask."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, queries: Tensor, points: Tensor | None) -> Tensor:
        """queries (B, Q, C) at points (Q, 2), in pixels -> embeddings (B, Q, C' + POWERS)."""
        assert points is not None, "placed masks need queries that stand somewhere"
        said = self.head(queries).float()
        look, sharpness, shift = said.split([said.shape[-1] - SAYS, 2, 2], dim=-1)
        sharpness = F.softplus(sharpness)
        centre = points / UNIT + shift
        constant = -(sharpness * centre.square()).sum(-1, keepdim=True)
        return torch.cat([look, -sharpness, 2 * sharpness * centre, constant], dim=-1)
