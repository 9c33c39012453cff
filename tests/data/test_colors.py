"""Colour changes: bytes in, bytes out, other every time, and what colorsys says of saturation."""

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mask2former.data import Shapes, colors
from mask2former.data.colors import disturb, jitter

CHANGES = [jitter, disturb]


def test_saturation_scales_s_of_hsv(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 5), np.uint8)
    for factor in (0.5, 0.8, 1.5):
        monkeypatch.setattr(colors, "_uniform", lambda *_, f=factor: f)
        found = colors._jitter_saturation(torch.from_numpy(pixels)).numpy()
        for before, after in zip(pixels.reshape(3, -1).T, found.reshape(3, -1).T, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
            expected = colorsys.hsv_to_rgb(hue, min(saturation * factor, 1), value)
            assert abs(after - np.array(expected) * 255).max() <= 0.51


@pytest.mark.parametrize("change", CHANGES)
def test_every_draw_is_another_and_the_picture_is_left(change: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    picture = Shapes(1).sample(0)["image"].as_subclass(Tensor)
    before = picture.clone()
    results = [change(picture) for _ in range(20)]
    assert torch.equal(picture, before)
    assert all(r.dtype == torch.uint8 and r.shape == picture.shape for r in results)
    assert len({int(result.sum()) for result in results}) > 10


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (40, 60)])
@pytest.mark.parametrize("change", [step for step, _ in colors._DISTURBANCES])
def test_disturbances_of_clips_are_finite_and_keep_their_shape(change, size) -> None:
    torch.manual_seed(1)
    for clip in (torch.rand(2, 3, *size), torch.zeros(2, 3, *size), torch.ones(1, 3, *size)):
        changed = change(clip)
        assert changed.shape == clip.shape
        assert changed.isfinite().all()


def test_frames_of_a_clip_have_one_light() -> None:
    torch.manual_seed(2)
    frame = torch.rand(1, 3, 20, 30)
    for change in (colors._bend, colors._shade, colors._convolve, colors._blur):
        first, second = change(frame.expand(2, -1, -1, -1))
        assert torch.allclose(first, second)


def test_convolution_gives_another_picture_of_the_same_mean() -> None:
    torch.manual_seed(3)
    picture = torch.rand(1, 3, 64, 64)
    mixed = colors._convolve(picture)
    assert (mixed - picture).abs().mean() > 0.01
    assert mixed.mean().item() == pytest.approx(picture.mean().item(), abs=1e-4)


def test_strong_changes_reach_further() -> None:
    """What is lost and added is seen in how different two draws of one picture are."""
    picture = Shapes(1).sample(0)["image"].as_subclass(Tensor)
    spread = []
    for change in CHANGES:
        torch.manual_seed(4)
        draws = torch.stack([change(picture) for _ in range(60)]).float()
        spread.append(draws.std(dim=0).mean())
    assert spread[1] > 1.1 * spread[0]
