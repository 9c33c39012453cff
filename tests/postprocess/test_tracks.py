"""Clips against the official rule: the class probability alone scores, a query is one track."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mask2former.postprocess.instance import instances, tracks
from mask2former.postprocess.tiles import TILE_PIXELS
from mask2former.structures import Prediction, Sizes

UNSURE = 1e-4  # |logit| below which rounding may decide a pixel


def random_clip(seed: int, frames: int) -> tuple[Prediction, Sizes]:
    draw = torch.Generator().manual_seed(seed)
    prediction = Prediction(
        3 * torch.randn(1, 6, 4, generator=draw),
        torch.randn(1, 6, 4, generator=draw),
        torch.randn(1, frames, 4, 16, 8, generator=draw),
    )
    return prediction, Sizes((60, 27), (43, 19))  # 817 pixels: a frame ends within a byte


def official(prediction: Prediction, sizes: Sizes, limit: int) -> list[tuple[float, int, object]]:
    """(score, label, logits (T, H, W)), best first, frame by frame."""
    logits = prediction.mask_logits()[0]
    frames = []
    for t in range(logits.shape[1]):
        padded = F.interpolate(logits[:, t : t + 1], size=(64, 32), mode="bilinear")
        cropped = padded[..., : sizes.network[0], : sizes.network[1]]
        frames.append(F.interpolate(cropped, size=sizes.original, mode="bilinear")[:, 0])
    whole = torch.stack(frames, dim=1).numpy()
    probabilities = prediction.class_logits[0].softmax(-1)[:, :-1].tolist()
    pairs = [(p, k, whole[q]) for q, row in enumerate(probabilities) for k, p in enumerate(row)]
    return sorted(pairs, key=lambda pair: -pair[0])[:limit]


@pytest.mark.parametrize("pixels", [300, 600_000])
@pytest.mark.parametrize("frames", [1, 2, 8, 9, 20])
def test_tracks_follow_the_official_rule(
    frames: int, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TILE_PIXELS, "cpu", pixels)
    prediction, sizes = random_clip(frames, frames)
    found = tracks(prediction, sizes, is_thing=torch.ones(3, dtype=torch.bool))
    expected = official(prediction, sizes, limit=10)
    assert found.size == (frames, *sizes.original)
    assert found.masks.shape == (10, frames, 43, 19)
    np.testing.assert_allclose(found.scores, [score for score, _, _ in expected], atol=1e-6)
    assert found.labels.tolist() == [label for _, label, _ in expected]
    for index, (_, _, logits) in enumerate(expected):
        wrong = (found.mask(index) != (logits > 0)) & (np.abs(logits) > UNSURE)
        assert not wrong.any()


def test_threshold_and_things_leave_pairs_out() -> None:
    prediction, sizes = random_clip(0, 3)
    only = torch.tensor([False, True, False])
    found = tracks(prediction, sizes, is_thing=only, threshold=0.2)
    assert set(found.labels.tolist()) == {1}
    assert (found.scores >= 0.2).all()
    everything = tracks(prediction, sizes, is_thing=only)
    assert len(found.scores) == (everything.scores >= 0.2).sum()
    nothing = tracks(prediction, sizes, is_thing=only, threshold=1.0)
    assert nothing.masks.shape == (0, 3, 43, 19)


@pytest.mark.parametrize("frames", [1, 8, 9])
def test_pictures_keep_the_mask_in_their_score_whatever_the_chunks(frames: int) -> None:
    prediction, sizes = random_clip(1, frames)
    is_thing = torch.ones(3, dtype=torch.bool)
    both = [rule(prediction, sizes, is_thing=is_thing) for rule in (instances, tracks)]
    assert (both[0].scores.max(), both[0].size) < (both[1].scores.max(), both[1].size)
    whole = np.concatenate([logits.ravel() for _, _, logits in official(prediction, sizes, 1)])
    on = whole[whole > 0]
    quality = (1 / (1 + np.exp(-on))).mean()
    first = official(prediction, sizes, 1)[0][0]
    assert np.isclose(both[0].scores, first * quality, atol=1e-5).any()
