"""Tiles against F.interpolate in its two official steps; what is left out is certainly nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mask2former.postprocess.instance import instances
from mask2former.postprocess.tiles import TILE_PIXELS, Strip, cut, find_positive, first_largest
from mask2former.structures import Prediction, Sizes

ODD_SIZES = [
    Sizes((32, 64), (32, 64)),
    Sizes((31, 57), (47, 101)),
    Sizes((29, 33), (13, 17)),
    Sizes((1, 64), (3, 5)),
    Sizes((32, 64), (1, 1)),
    Sizes((30, 60), (300, 7)),
]


def random_prediction(queries: int = 5, frames: int = 2) -> Prediction:
    return Prediction(
        torch.randn(1, queries, 3), torch.randn(1, queries, 3), torch.randn(1, frames, 3, 8, 16)
    )


def join(strips: list[Strip]) -> Tensor:
    """All logits (Q, T, H, W), tile by tile."""
    frames: dict[int, list[Tensor]] = {}
    for strip in strips:
        rows = torch.cat([tile.logits() for tile in strip.tiles()], dim=2)
        frames.setdefault(strip.frame, []).append(rows)
    return torch.stack([torch.cat(rows, dim=1) for rows in frames.values()], dim=1)


@pytest.mark.parametrize("sizes", ODD_SIZES)
@pytest.mark.parametrize("pixels", [1, 300, 600_000])
def test_tiles_take_the_official_two_steps(
    sizes: Sizes, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TILE_PIXELS, "cpu", pixels)
    prediction = random_prediction()
    logits = F.interpolate(prediction.mask_logits()[0], (32, 64), mode="bilinear")
    logits = logits[..., : sizes.network[0], : sizes.network[1]]
    expected = F.interpolate(logits, sizes.original, mode="bilinear")
    torch.testing.assert_close(join(list(cut(prediction, sizes))), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("pixels", [300, 600_000])
def test_no_pixel_is_beyond_the_bounds_of_its_tile(
    pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TILE_PIXELS, "cpu", pixels)
    for sizes in ODD_SIZES:
        for strip in cut(random_prediction(), sizes):
            for tile in strip.tiles():
                low, high = tile.bounds()
                found = tile.logits().sigmoid().flatten(1)
                assert (found >= low[:, None] - 1e-6).all()
                assert (found <= high[:, None] + 1e-6).all()


@pytest.mark.parametrize("sizes", ODD_SIZES)
def test_what_is_nowhere_positive_has_no_positive_pixel(sizes: Sizes) -> None:
    """Exactly: no rounding lifts a blend of values that are 0 or less above 0."""
    prediction = random_prediction()
    features = -prediction.mask_features.abs() * (torch.rand(1, 2, 3, 8, 16) < 0.7)
    dark = Prediction(prediction.class_logits, prediction.mask_embeddings.abs(), features)
    for strip in cut(dark, sizes):
        assert find_positive(strip.small).numel() == 0
        assert all((tile.logits() <= 0).all() for tile in strip.tiles())


def test_masks_made_in_few_tiles_are_those_made_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small objects, far apart: bit by bit, and the scores."""
    centres = 64 * torch.rand(12, 2)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    discs = torch.stack([4 - torch.hypot(y - row, x - column) for row, column in centres])
    prediction = Prediction(torch.randn(1, 12, 2), torch.eye(12)[None], discs[None, None])
    sizes, is_thing = Sizes((250, 256), (400, 333)), torch.tensor([True])
    monkeypatch.setitem(TILE_PIXELS, "cpu", 12 * 32 * 32)
    few = instances(prediction, sizes, is_thing=is_thing)
    monkeypatch.setattr(
        "mask2former.postprocess.instance.find_positive", lambda small: torch.arange(len(small))
    )
    everywhere = instances(prediction, sizes, is_thing=is_thing)
    assert (few.masks == everywhere.masks).all()
    assert few.masks.any((1, 2, 3)).sum() > 8
    assert (few.labels == everywhere.labels).all()
    torch.testing.assert_close(torch.tensor(few.scores), torch.tensor(everywhere.scores))


def test_tiles_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TILE_PIXELS, "cpu", 5 * 400)
    for sizes in (Sizes((32, 64), (320, 640)), Sizes((32, 64), (8, 16))):
        for strip in cut(random_prediction(), sizes):
            for tile in strip.tiles():
                assert tile.logits().numel() <= 5 * 400
                assert tile.input_logits().numel() <= 2 * 5 * 400


def test_no_query_gives_empty_tiles() -> None:
    strips = list(cut(random_prediction(), ODD_SIZES[1], queries=torch.arange(0)))
    assert join(strips).shape == (0, 2, 47, 101)


def test_first_largest_is_argmax_and_takes_the_first() -> None:
    maps = torch.randint(4, (9, 20, 30)).float()
    assert (first_largest(maps) == maps.argmax(0)).all()
    assert (first_largest(maps[:1]) == 0).all()
    maps[:, 0, 0] = torch.nan
    assert first_largest(maps)[0, 0] < 9
