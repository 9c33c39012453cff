"""What may be done to a mask that is still a product: resize it, sample it.

A mask is `mask_embedding . mask_features`. Bilinear resizing and point sampling are linear, so they
commute with that product and are done once on the features instead of once per query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mask2former.tracing import is_exporting

AT_ONCE = 32
"""Masks whose points are looked at together: what is made on the way is larger than the result."""


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., C, H, W) maps bilinearly to (..., C, *size), as every published model does."""
    step = 0 if is_exporting() else maps.shape[-1] // size[1]  # graphs are of any size
    if step == 1 and maps.shape[-2:] == size:
        return maps
    if step > 0 and step % 2 == 0 and maps.shape[-2:] == (step * size[0], step * size[1]):
        return _mean_of_middles(maps, step)
    # Channels stay channels: channels-last maps are resized far faster than contiguous ones.
    batch = maps.flatten(0, -4) if maps.ndim > 3 else maps.unsqueeze(0)
    resized = F.interpolate(batch, size=size, mode="bilinear", align_corners=False)
    return resized.unflatten(0, maps.shape[:-3]) if maps.ndim > 3 else resized.squeeze(0)


def _mean_of_middles(maps: Tensor, step: int) -> Tensor:
    """Bilinear resizing by an even whole number: a new pixel's centre lies amid four old pixels."""
    first, second = step // 2 - 1, step // 2
    above, below = maps[..., first::step, :], maps[..., second::step, :]
    across = above + below
    return (across[..., first::step] + across[..., second::step]) / 4


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Read (N, C, H, W) maps at (N, P, 2) points (x, y in 0..1): (N, C, P). Zero outside.

    Half-precision maps are read in the precision of the points: rounded places are other pixels.
    """
    if is_exporting():
        return _sample_by_corners(maps, points)
    exact = torch.promote_types(maps.dtype, points.dtype)
    grid = (2 * points).sub_(1).unsqueeze(1).to(exact)
    samples = F.grid_sample(maps.to(exact), grid, mode="bilinear", align_corners=False)
    return samples.squeeze(2).to(maps.dtype)


def _sample_by_corners(maps: Tensor, points: Tensor) -> Tensor:
    """`sample` by gathering, which every runtime does alike."""
    samples = maps.new_zeros(())
    for weight, index in _corners(maps.shape[-2:], points):
        places = index[:, None].expand(-1, maps.shape[1], -1)
        samples = samples + maps.flatten(2).gather(2, places) * weight[:, None]
    return samples


def sample_ids(ids: Tensor, objects: Tensor, points: Tensor) -> Tensor:
    """The soft truth of M objects, each at its own points: (M, P).

    `ids` is the map (L, H, W), `objects` the M ids asked for, `points` (M, P, 2). The value is the
    bilinear weight of the corners that bear the id: what sampling the object's 0/1 mask would give.
    """
    truth = points.new_zeros(points.shape[:2])
    parts = (whole.split(AT_ONCE) for whole in (truth, objects, points))
    for shares, some, places in zip(*parts, strict=True):
        for weight, index in _corners(ids.shape[-2:], places):
            bears = (ids.flatten(1)[:, index] == some[:, None]).any(0)
            shares += weight * bears
    return truth


def sample_all_ids(ids: Tensor, count: int, points: Tensor) -> Tensor:
    """The soft truth of the objects 1..count at shared points (P, 2): (count, P)."""
    truth = points.new_zeros(count + 1, points.shape[0])
    for weight, index in _corners(ids.shape[-2:], points):
        found = ids.flatten(1)[:, index].long()
        truth.scatter_add_(0, found, weight.expand(found.shape))
    return truth[1:]


def _corners(size: Sequence[int], points: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The four neighbours of every point: bilinear weight (0 outside) and flat pixel index."""
    height, width = size
    x, y = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    for column, across in ((left, left + 1 - x), (left + 1, x - left)):
        for row, down in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            yield across * down * inside, index.long()
