"""Where queries come from: learned, empty, or read off the picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mask2former.model.position import picture_position
from mask2former.model.queries import LearnableQueries, SampledQueries, ZeroQueries, lattice
from mask2former.structures import PixelFeatures

DIM = 8


def make_features(maps: Tensor) -> PixelFeatures:
    """Pixel features whose stride-8 map is `maps` (B, T, C, H, W)."""
    batch, frames, _, height, width = maps.shape
    return PixelFeatures(torch.zeros(batch, frames, DIM, 2 * height, 2 * width), {8: maps})


def sampled(spacing: float) -> SampledQueries:
    return SampledQueries(DIM, spacing=spacing, stride=8, position=picture_position)


@pytest.mark.parametrize("kind", [LearnableQueries, ZeroQueries])
def test_free_queries_are_the_same_for_every_picture(kind):
    content, position, points = kind(5, DIM)(make_features(torch.randn(3, 1, DIM, 4, 4)))
    assert points is None
    assert content.shape == position.shape == (3, 5, DIM)
    assert torch.equal(content[0], content[2])
    assert torch.equal(position[0], position[2])


def test_zero_queries_have_no_content_and_only_a_position_to_learn():
    queries = ZeroQueries(5, DIM)
    assert not queries(make_features(torch.randn(1, 1, DIM, 4, 4)))[0].any()
    assert [name for name, _ in queries.named_parameters()] == ["position.weight"]


@pytest.mark.parametrize(
    ("spacing", "size", "count"), [(16, (4, 6), 6), (8, (4, 6), 24), (1000, (4, 6), 1)]
)
def test_sampled_queries_are_as_many_as_their_spacing_says(spacing, size, count):
    content, position, points = sampled(spacing)(make_features(torch.randn(2, 1, DIM, *size)))
    assert content.shape == position.shape == (2, count, DIM)
    assert points.shape == (count, 2)


@torch.no_grad()
def test_sampled_queries_start_as_the_features_of_their_points():
    """A feature that tells x and one that tells y come back as the points' own coordinates."""
    height, width = 6, 8
    maps = torch.zeros(1, 1, DIM, height, width)
    maps[0, 0, 0] = ((torch.arange(width) + 0.5) / width).expand(height, width)
    maps[0, 0, 1] = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    queries = sampled(16.0)
    for parameter in queries.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.eye_(queries.content.weight)
    content, _, pixels = queries(make_features(maps))
    points = lattice(3, 4, torch.device("cpu"))
    torch.testing.assert_close(content[0, :, :2], points, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(pixels, points * torch.tensor([64.0, 48.0]))


def test_sampled_queries_read_the_first_frame_of_a_clip():
    maps = torch.randn(2, 3, DIM, 4, 4)
    queries = sampled(8.0)
    both = queries(make_features(maps)), queries(make_features(maps[:, :1]))
    assert all(torch.equal(clip, first) for clip, first in zip(*both, strict=True))


def test_lattice_lies_inside_and_shifts_every_other_row():
    points = lattice(3, 2, torch.device("cpu")).view(3, 2, 2)
    assert points.min() > 0
    assert points.max() < 1
    torch.testing.assert_close(points[0, :, 0], torch.tensor([0.125, 0.625]))
    torch.testing.assert_close(points[1, :, 0], torch.tensor([0.375, 0.875]))
    torch.testing.assert_close(points[:, 0, 1], torch.tensor([1 / 6, 3 / 6, 5 / 6]))
