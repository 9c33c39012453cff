"""`sample_pyramid` as weighted sums of the rows of a table, for graphs that run elsewhere.

A row holds the channels of one head at one pixel. The corners of all samples are numbers of rows:
what a runtime has to do is to gather and to add, which each does well, and no `grid_sample`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from mask2former.model.deformable_attention import Shapes

RING = 2
"""Zeros around a level: places are held inside the first, and corners reach the second."""
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""The four pixels around a place: so many rows down and columns across."""


def sample_with_bags(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """By one `embedding_bag`: the quickest, where a runtime has that (OpenVINO, at a fixed size).

    Row numbers are computed in floats, exact up to 2^24: pictures of a hundred megapixels.
    """
    batch, _, heads, channels = value.shape
    table = torch.cat([level.flatten(1, 2) for level in _ringed(value, shapes)], 1)
    height, width = value.new_tensor(shapes).unsqueeze(-1).unbind(1)  # (levels, 1) each
    y, x = (
        torch.minimum(
            (reference[:, axis, None, None, None] * side - 0.5 + offsets[..., axis]).clamp(min=-1),
            side,
        )
        for axis, side in ((1, height), (0, width))
    )
    top, left = y.floor(), x.floor()
    below, right = (y - top).unsqueeze(-1), (x - left).unsqueeze(-1)

    row = width + 2 * RING
    rows = [(height + 2 * RING) * (width + 2 * RING) for height, width in shapes]
    first = value.new_tensor([0, *accumulate(rows[:-1])]).unsqueeze(-1)
    head = torch.arange(heads, dtype=value.dtype).view(-1, 1, 1)
    number = (top * row + left + (first + RING * row + RING)) * heads + head
    picture = torch.arange(batch, dtype=value.dtype).view(-1, 1, 1, 1, 1)
    number = number + picture * (table.shape[1] * heads)

    down, across = value.new_tensor(CORNERS).unbind(1)
    numbers = number.unsqueeze(-1) + ((row * down + across) * heads).unsqueeze(1)
    shares = (1 - down + (2 * down - 1) * below) * (1 - across + (2 * across - 1) * right)
    weights = logits.flatten(3).softmax(-1).view(logits.shape)
    shares = shares * weights.unsqueeze(-1)
    total = F.embedding_bag(
        numbers.int().flatten(3).flatten(0, 2),
        table.reshape(-1, channels),
        mode="sum",
        per_sample_weights=shares.flatten(3).flatten(0, 2),
    )
    return total.view(batch, -1, heads * channels)


def sample_with_products(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """By gathering and a product of matrices, level by level: every runtime has these."""
    batch, _, heads, channels = value.shape
    weights = logits.flatten(3).softmax(-1).view(logits.shape)
    total = value.new_zeros(())
    for level, (table, size) in enumerate(zip(_ringed(value, shapes), shapes, strict=True)):
        y, x = (
            (reference[:, axis, None, None] * side - 0.5 + offsets[:, :, :, level, :, axis]).clamp(
                -1, side
            )
            for axis, side in ((1, size[0]), (0, size[1]))
        )
        corners = _corners(x + RING, y + RING, table.shape[2])
        rows, shares = (torch.cat(parts, -1) for parts in zip(*corners, strict=True))
        shares = shares * torch.cat([weights[:, :, :, level]] * 4, -1)
        numbers = _numbers(rows, table.flatten(1, 2), heads).flatten(0, 2)
        read = F.embedding(numbers, table.reshape(-1, channels))  # (N * Q * heads, corners, C)
        total = total + shares.flatten(0, 2).unsqueeze(1) @ read
    return total.view(batch, -1, heads * channels)


def _ringed(value: Tensor, shapes: Shapes) -> list[Tensor]:
    """The levels as maps (N, H', W', heads * C) with zeros around."""
    maps = value.flatten(2).split([height * width for height, width in shapes], dim=1)
    padding = (0, 0, RING, RING, RING, RING)
    pairs = zip(maps, shapes, strict=True)
    return [F.pad(level.unflatten(1, size), padding) for level, size in pairs]


def _corners(x: Tensor, y: Tensor, row: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The four pixels around places on a level whose rows are so long: their rows and shares."""
    left, top = x.floor(), y.floor()
    right, below = x - left, y - top
    for down, height in ((0, 1 - below), (1, below)):
        for across, width in ((0, 1 - right), (1, right)):
            number = (top + down) * row + left + across
            yield number.long(), width * height


def _numbers(rows: Tensor, table: Tensor, heads: int) -> Tensor:
    """Rows (N, Q, heads, ...) of a table (N, rows, heads * C) as rows of (N * rows * heads, C)."""
    shape = [1] * (rows.ndim - 3)
    head = torch.arange(heads, device=rows.device).view(-1, *shape)
    picture = torch.arange(table.shape[0], device=rows.device).view(-1, 1, 1, *shape)
    return (rows + picture * table.shape[1]) * heads + head


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
