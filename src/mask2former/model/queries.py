"""Where the decoder's queries come from (paper section 3.2.2, tables 4b and X; and one of ours)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mask2former.masks import sample
from mask2former.model.position import Position
from mask2former.structures import STRIDE, PixelFeatures
from mask2former.tracing import is_exporting


class Queries(NamedTuple):
    """What the decoder starts from."""

    content: Tensor  # (B, Q, C)
    position: Tensor  # (B, Q, C)
    points: Tensor | None = None  # (Q, 2) x, y in pixels, for queries that stand somewhere


class LearnableQueries(nn.Module):
    """The paper's queries: learned content and learned position."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.content = nn.Embedding(count, dim)
        self.position = nn.Embedding(count, dim)

    def forward(self, features: PixelFeatures) -> Queries:
        """Start on these features."""
        batch = features.mask_features.shape[0]
        content = self.content.weight.expand(batch, -1, -1)
        return Queries(content, self.position.weight.expand(batch, -1, -1))


class ZeroQueries(nn.Module):
    """DETR's queries: empty content, learned position (tables 4b and X)."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.position = nn.Embedding(count, dim)

    def forward(self, features: PixelFeatures) -> Queries:
        """Start on these features."""
        position = self.position.weight.expand(features.mask_features.shape[0], -1, -1)
        return Queries(torch.zeros_like(position), position)


class SampledQueries(nn.Module):
    """Queries that start as the picture's own pixels, at points of a lattice laid over it.

    Each query begins with the features and the place of one point, so that many alike objects are
    told apart from the first step; the paper's free queries learn that slowly. There is a query for
    every `spacing` x `spacing` pixels: a larger picture gets more, and none is a parameter. Clips
    are sampled in their first frame.
    """

    def __init__(self, dim: int, *, spacing: float, stride: int, position: Position) -> None:
        super().__init__()
        self.spacing = spacing
        self.stride = stride
        self.place = position
        self.content = nn.Linear(dim, dim)
        self.position = nn.Linear(dim, dim)

    def forward(self, features: PixelFeatures) -> Queries:
        """Start on these features."""
        maps = features.pyramid[self.stride][:, 0]
        batch, dim, height, width = maps.shape
        rows, columns = (self.count(side) for side in (height, width))
        points = lattice(rows, columns, maps.device)
        place = self.place(1, height, width, self.stride, dim, maps.device)
        # Together: OpenVINO computes wrongly what a linear layer makes of constants alone.
        looks = torch.cat([maps, place.expand(batch, -1, -1, -1)], dim=1)
        found = sample(looks, points.expand(batch, -1, -1)).transpose(1, 2)
        content, place = found.split(dim, dim=-1)
        x, y = points.unbind(-1)
        pixels = torch.stack([x * width, y * height], dim=-1) * self.stride
        return Queries(self.content(content), self.position(place), pixels)

    def count(self, side: int) -> int:
        """How many points stand along a side of a map."""
        if is_exporting() and STRIDE % self.spacing == 0:  # no rounding: graphs know no ties
            return side * self.stride // int(self.spacing)
        return max(1, round(side * self.stride / self.spacing))


def lattice(rows: int, columns: int, device: torch.device) -> Tensor:
    """Points (rows * columns, 2), x, y in 0..1; every other row is shifted by half a step."""
    row, column = (
        torch.arange(count, dtype=torch.float32, device=device) for count in (rows, columns)
    )
    y, x = (row + 0.5) / rows, (column + 0.25) / columns
    shift = (row % 2)[:, None] * 0.5 / columns
    return torch.stack([x + shift, y[:, None].expand(rows, columns)], dim=-1).flatten(0, 1)
