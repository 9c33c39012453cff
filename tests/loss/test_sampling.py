"""Where masks are compared: counts, places, and the generator that draws them."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from mask2former.loss.sampling import AllPixels, RandomPoints, UncertainPoints, uniform
from mask2former.masks import sample

SAMPLERS = [AllPixels(), RandomPoints(40), UncertainPoints(40)]


def seeded(seed: int = 3) -> Generator:
    return Generator().manual_seed(seed)


def test_all_pixels_are_the_pixel_centres_row_by_row():
    points = AllPixels()(torch.randn(3, 2, 2), (3, 4), None)
    assert points.shape == (1, 12, 2)
    truth = torch.randn(1, 2, 3, 4)
    torch.testing.assert_close(sample(truth, points), truth.flatten(2))


def test_random_points_differ_between_masks_and_fill_the_picture():
    points = RandomPoints(5000)(torch.randn(3, 8, 8), (32, 32), None)
    assert points.shape == (3, 5000, 2)
    assert points.min() >= 0
    assert points.max() < 1
    torch.testing.assert_close(points.mean((1, 2)), torch.full((3,), 0.5), atol=0.02, rtol=0.0)
    assert not torch.equal(points[0], points[1])


def test_uncertain_points_are_the_least_certain_of_three_times_as_many():
    """Of 3 P drawn points the 3/4 P with the smallest |logit| stay; 1/4 P are drawn anew."""
    logits = torch.randn(2, 8, 8)
    points = UncertainPoints(40)(logits, (32, 32), seeded())
    generator = seeded()
    drawn = uniform(logits, 120, generator)
    fresh = uniform(logits, 10, generator)
    certainty = sample(logits.unsqueeze(1), drawn).squeeze(1).abs()
    limit = certainty.sort(dim=1).values[:, 29:30]
    for mask in range(2):
        expected = drawn[mask][certainty[mask] <= limit[mask]].tolist()
        assert sorted(points[mask, :30].tolist()) == sorted(expected)
    assert torch.equal(points[:, 30:], fresh)


@pytest.mark.parametrize("count", [1, 3, 10, 12544])
def test_uncertain_points_are_as_many_as_asked_for(count):
    points = UncertainPoints(count)(torch.randn(1, 4, 4), (16, 16), None)
    assert points.shape == (1, count, 2)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler_draws_the_same_from_the_same_seed(sampler):
    logits = torch.randn(2, 4, 4)
    first = sampler(logits, (16, 16), seeded())
    torch.rand(3)  # the global generator has no say
    assert torch.equal(first, sampler(logits, (16, 16), seeded()))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler_of_no_mask_gives_points_for_none(sampler):
    points = sampler(torch.randn(0, 4, 4), (16, 16), None)
    assert points.expand(0, -1, -1).shape[0] == 0
