"""Semantic maps against the official rule, written out one class and query at a time."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mask2former.postprocess.semantic import resize_masks, resize_scores, semantic_map
from mask2former.postprocess.tiles import TILE_PIXELS
from mask2former.structures import Prediction, Sizes

RULES = {
    "scores resized": partial(semantic_map, score=resize_scores),
    "masks resized": partial(semantic_map, score=resize_masks),
}


def random_case(seed: int) -> tuple[Prediction, Sizes]:
    """A few queries and classes; sizes that need padding, cropping and rounding."""
    draw = torch.Generator().manual_seed(seed)
    pick = lambda low, high: int(torch.randint(low, high, (), generator=draw))  # noqa: E731
    queries, classes, frames = pick(1, 7), pick(1, 6), pick(1, 3)
    height, width = 8 * pick(1, 3), 8 * pick(1, 3)
    prediction = Prediction(
        3 * torch.randn(1, queries, classes + 1, generator=draw),
        torch.randn(1, queries, 4, generator=draw),
        torch.randn(1, frames, 4, height, width, generator=draw),
    )
    network = pick(4 * height - 31, 4 * height + 1), pick(4 * width - 31, 4 * width + 1)
    return prediction, Sizes(network, (pick(1, 70), pick(1, 70)))


def restore(maps: Tensor, sizes: Sizes) -> Tensor:
    """Crop and resize (C, H, W) maps."""
    height, width = sizes.network
    return bilinear(maps[:, :height, :width], sizes.original)


def bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


def naive_scores(prediction: Prediction, sizes: Sizes, rule: str) -> Tensor:
    """The class scores (T, K, H, W) by the official order of steps."""
    classes = prediction.class_logits[0].softmax(-1)
    logits = prediction.mask_logits()[0].transpose(0, 1)  # (T, Q, h, w)
    frames = []
    for frame in logits:
        big = bilinear(frame, (4 * frame.shape[1], 4 * frame.shape[2]))
        if rule == "masks resized":
            big = restore(big, sizes)
        scores = torch.zeros(classes.shape[1] - 1, *big.shape[1:])
        for query, mask in enumerate(big.sigmoid()):
            for label in range(classes.shape[1] - 1):
                scores[label] += classes[query, label] * mask
        frames.append(scores if rule == "masks resized" else restore(scores, sizes))
    return torch.stack(frames)


@pytest.mark.parametrize("pixels", [300, 600_000])
@pytest.mark.parametrize("rule", RULES)
def test_semantic_map_follows_the_official_rule(rule, pixels, monkeypatch):
    monkeypatch.setitem(TILE_PIXELS, "cpu", pixels)
    for seed in range(30):
        prediction, sizes = random_case(seed)
        scores = naive_scores(prediction, sizes, rule)
        found = torch.from_numpy(RULES[rule](prediction, sizes).labels).long()
        assert found.shape == (scores.shape[0], *sizes.original)
        best = scores.max(1).values
        taken = scores.gather(1, found[:, None])[:, 0]
        assert (best - taken).max() <= 1e-5, f"case {seed}"  # but for rounding: the argmax


@pytest.mark.parametrize("rule", RULES)
def test_semantic_map_of_a_picture_that_was_not_resized(rule):
    prediction, _ = random_case(2)
    height, width = (4 * side for side in prediction.mask_features.shape[-2:])
    sizes = Sizes((height - 3, width), (height - 3, width))
    scores = naive_scores(prediction, sizes, rule)
    found = torch.from_numpy(RULES[rule](prediction, sizes).labels).long()
    assert (found == scores.argmax(1)).all()


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    pixels = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        if isinstance(made, Tensor):
            self.pixels = max(self.pixels, made.numel())
        return made


@pytest.mark.parametrize("original", [(90, 120), (1500, 2000)], ids=["small", "large"])
@pytest.mark.parametrize("classes", [1, 133])
@pytest.mark.parametrize("rule", RULES)
def test_semantic_map_makes_no_tensor_larger_than_a_few_rows(rule, classes, original, monkeypatch):
    monkeypatch.setitem(TILE_PIXELS, "cpu", 100_000)
    prediction = Prediction(
        torch.randn(1, 50, classes + 1), torch.randn(1, 50, 4), torch.randn(1, 1, 4, 80, 96)
    )
    with Largest() as largest:
        RULES[rule](prediction, Sizes((300, 380), original))
    whole = max(50, classes) * max(320 * 384, original[0] * original[1])
    assert largest.pixels < 400_000 < whole / 10


@pytest.mark.parametrize("rule", RULES)
def test_semantic_map_takes_the_first_of_equal_classes(rule):
    prediction = Prediction(torch.zeros(1, 3, 5), torch.randn(1, 3, 4), torch.randn(1, 1, 4, 8, 8))
    assert not RULES[rule](prediction, Sizes((32, 32), (32, 32))).labels.any()


@pytest.mark.parametrize("rule", RULES)
def test_semantic_map_never_shows_no_object(rule):
    classes = torch.tensor([[[0.0, 1.0, 50.0]]])
    prediction = Prediction(classes, torch.ones(1, 1, 1), torch.ones(1, 1, 1, 8, 8))
    labels = RULES[rule](prediction, Sizes((32, 32), (20, 20))).labels
    assert labels.dtype.name == "int16"
    assert (labels == 1).all()


@pytest.mark.parametrize("rule", RULES)
def test_semantic_map_does_not_depend_on_the_padding(rule):
    """Beyond the ring that interpolation touches, whatever stands in the padding is cut off."""
    prediction, _ = random_case(1)
    ringed = F.pad(prediction.mask_features[0], (0, 1, 0, 1), mode="replicate")
    wide = F.pad(ringed, (0, 7, 0, 7), value=1e3)[None]
    height, width = (4 * side for side in prediction.mask_features.shape[-2:])
    sizes = Sizes((height, width), (37, 53))
    plain, padded = (
        RULES[rule](prediction._replace(mask_features=features), sizes).labels
        for features in (prediction.mask_features, wide)
    )
    assert (plain == padded).all()
