"""`sample_pyramid` as weighted sums of the rows of a table, for graphs that run elsewhere.

A row holds the channels of one head at one pixel. The corners of all samples are numbers of rows:
what a runtime has to do is to gather and to add, which each does well, and no `grid_sample`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mask2former.model.deformable_attention import Shapes

RING = 2
"""Zeros around a level: places are held inside the first, and corners reach the second."""


class Level(NamedTuple):
    """What the samples of one level read."""

    table: Tensor  # (rows, C)
    rows: Tensor  # (N * Q * heads, corners of all points)
    weights: Tensor  # of the same shape


def sample_with_bags(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """By `embedding_bag`: the quickest, where a runtime has that (OpenVINO, at a fixed size)."""
    levels = list(_levels(value, shapes, reference, offsets, logits))
    bags = (
        F.embedding_bag(x.rows, x.table, mode="sum", per_sample_weights=x.weights) for x in levels
    )
    return sum(bags, value.new_zeros(())).view(*offsets.shape[:2], -1)


def sample_with_products(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """By gathering and a product of matrices, level by level: every runtime has these."""
    levels = _levels(value, shapes, reference, offsets, logits)
    sums = (x.weights.unsqueeze(1) @ F.embedding(x.rows, x.table) for x in levels)
    return sum(sums, value.new_zeros(())).view(*offsets.shape[:2], -1)


def sample_with_grids(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """By `grid_sample`, with sizes that a graph may compute (OpenVINO, at any size)."""
    batch, _, heads, channels = value.shape
    weights = logits.flatten(3).softmax(-1).view(logits.shape)
    maps = value.split([height * width for height, width in shapes], dim=1)
    total = value.new_zeros(())
    for level, (height, width) in enumerate(shapes):
        plane = maps[level].permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        places = [
            2 * (reference[:, axis, None, None] + offsets[:, :, :, level, :, axis] / side) - 1
            for axis, side in enumerate((width, height))
        ]
        grid = torch.stack(places, -1).transpose(1, 2).flatten(0, 1)  # (N * heads, Q, points, 2)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        total = total + (F.grid_sample(plane, grid, align_corners=False) * share).sum(-1)
    return total.view(batch, heads * channels, -1).transpose(1, 2)


def _levels(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Iterator[Level]:
    batch, _, heads, channels = value.shape
    weights = logits.flatten(3).softmax(-1).view(logits.shape)
    head = torch.arange(heads, device=value.device)[:, None]
    picture = torch.arange(batch, device=value.device)[:, None, None, None]
    maps = value.flatten(2).split([height * width for height, width in shapes], dim=1)
    for level, (height, width) in enumerate(shapes):
        padding = (0, 0, RING, RING, RING, RING)
        table = F.pad(maps[level].unflatten(1, (height, width)), padding)  # (N, H', W', heads * C)
        x, y = (
            (reference[:, axis, None, None] * side - 0.5 + offsets[:, :, :, level, :, axis]).clamp(
                -1, side
            )
            + RING
            for axis, side in enumerate((width, height))
        )
        left, top = x.floor(), y.floor()
        right, below = x - left, y - top
        row = table.shape[2]
        first = (top * row + left).long() + picture * (table.shape[1] * row)
        corners = torch.cat([first, first + 1, first + row, first + row + 1], -1) * heads + head
        shares = torch.cat(
            [(1 - right) * (1 - below), right * (1 - below), (1 - right) * below, right * below], -1
        ) * weights[:, :, :, level].repeat(1, 1, 1, 4)
        yield Level(table.reshape(-1, channels), corners.flatten(0, 2), shares.flatten(0, 2))
