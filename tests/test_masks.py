"""Masks as products: resizing, sampling and making pixels commute with the product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mask2former.masks import (
    resize,
    sample,
    sample_all_ids,
    sample_ids,
)


def random_ids(layers: int, objects: int, height: int, width: int) -> Tensor:
    """Boxes that overlap, each object in one layer: (layers, H, W)."""
    ids = torch.zeros(layers, height, width, dtype=torch.int32)
    for name in range(1, objects + 1):
        top, left = int(torch.randint(height - 2, ())), int(torch.randint(width - 2, ()))
        ids[name % layers, top : top + height // 2, left : left + width // 2] = name
    return ids


def one_hot(ids: Tensor, count: int) -> Tensor:
    """The objects' 0/1 masks (count, H, W)."""
    names = torch.arange(1, count + 1)[:, None, None, None]
    return (ids == names).any(1).double()


def random_points(*shape: int) -> Tensor:
    """Points inside, outside and exactly on borders and pixel centres."""
    points = torch.rand(*shape, 2, dtype=torch.float64) * 1.4 - 0.2
    edges = torch.tensor([0.0, 1.0, 0.5, 0.25, -0.1], dtype=torch.float64)
    picks = edges[torch.randint(len(edges), points.shape)]
    return torch.where(torch.rand(points.shape) < 0.3, picks, points)


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 5, 7), (2, 2, 3, 5, 7)])
def test_resize_is_bilinear_for_any_leading_dimensions(shape):
    maps = torch.randn(shape)
    planes = F.interpolate(maps.reshape(-1, 1, 5, 7), (11, 4), mode="bilinear")
    resized = resize(maps, (11, 4))
    assert resized.shape == (*shape[:-2], 11, 4)
    torch.testing.assert_close(resized.reshape(-1, 1, 11, 4), planes)


def test_resize_to_the_same_size_copies_nothing():
    maps = torch.randn(1, 3, 5, 7)
    assert resize(maps, (5, 7)) is maps


def test_sample_reads_pixel_centres_and_zero_outside():
    maps = torch.randn(1, 2, 4, 5)
    points = torch.tensor([[[1.5 / 5, 2.5 / 4], [-0.5, 0.5], [0.5, 1.5]]])
    found = sample(maps, points)
    torch.testing.assert_close(found[0, :, 0], maps[0, :, 2, 1])
    assert not found[..., 1:].any()


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("size", [(9, 14), (32, 32), (7, 5)])
def test_sample_ids_equals_sampling_the_masks(layers, size):
    count = 6
    ids = random_ids(layers, count, *size)
    objects = torch.tensor([3, 1, 6, 6, 2])
    points = random_points(len(objects), 200)
    expected = sample(one_hot(ids, count)[objects - 1].unsqueeze(1), points).squeeze(1)
    torch.testing.assert_close(sample_ids(ids, objects, points), expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("size", [(9, 14), (32, 32), (7, 5)])
def test_sample_all_ids_equals_sampling_the_masks(layers, size):
    count = 6
    ids = random_ids(layers, count, *size)
    points = random_points(200)
    expected = sample(one_hot(ids, count).unsqueeze(0), points[None])[0]
    torch.testing.assert_close(sample_all_ids(ids, count, points), expected, rtol=0.0, atol=1e-12)


def test_sample_ids_of_nobody_is_zero():
    ids = torch.zeros(1, 4, 4, dtype=torch.int32)
    assert sample_all_ids(ids, 0, torch.rand(9, 2)).shape == (0, 9)
    assert not sample_ids(ids, torch.tensor([5]), torch.rand(1, 9, 2)).any()
