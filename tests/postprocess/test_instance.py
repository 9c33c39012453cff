"""Instances against the official rule, written out one (query, class) pair at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mask2former.postprocess.instance import instances
from mask2former.postprocess.tiles import TILE_PIXELS
from mask2former.structures import Prediction, Sizes

UNSURE = 1e-4  # |logit| below which rounding may decide a pixel


def random_case(seed: int) -> tuple[Prediction, Sizes, torch.Tensor]:
    """Few queries, things and stuff; sizes that need padding, cropping and rounding."""
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
    is_thing = torch.rand(classes, generator=draw) < 0.7
    return prediction, Sizes(network, (pick(1, 70), pick(1, 70))), is_thing


def naive_instances(prediction, sizes, is_thing, limit) -> list[tuple[float, int, np.ndarray]]:
    """(score, label, logits (T, H, W)) of the top pairs, best first."""
    logits = prediction.mask_logits()[0]
    logits = F.interpolate(
        logits, (4 * logits.shape[-2], 4 * logits.shape[-1]), mode="bilinear", align_corners=False
    )[..., : sizes.network[0], : sizes.network[1]]
    logits = F.interpolate(logits, sizes.original, mode="bilinear", align_corners=False)
    probabilities = prediction.class_logits[0].softmax(-1).tolist()
    pairs = [(p, q, k) for q, row in enumerate(probabilities) for k, p in enumerate(row[:-1])]
    found = []
    for probability, query, label in sorted(pairs, reverse=True)[:limit]:
        if not is_thing[label]:
            continue
        mask = (logits[query] > 0).float()
        quality = (logits[query].sigmoid() * mask).sum() / (mask.sum() + 1e-6)
        found.append((probability * float(quality), label, logits[query].numpy()))
    return sorted(found, key=lambda one: -one[0])


@pytest.mark.parametrize("pixels", [300, 600_000])
@pytest.mark.parametrize("limit", [3, 10, 100])
def test_instances_follow_the_official_rule(limit, pixels, monkeypatch):
    monkeypatch.setitem(TILE_PIXELS, "cpu", pixels)
    for seed in range(20):
        prediction, sizes, is_thing = random_case(seed)
        expected = naive_instances(prediction, sizes, is_thing, limit)
        found = instances(prediction, sizes, is_thing=is_thing, max_detections=limit)
        assert found.size == (prediction.mask_features.shape[1], *sizes.original)
        assert found.masks.shape == (len(expected), *found.size)
        np.testing.assert_allclose(found.scores, [s for s, _, _ in expected], atol=1e-5)
        assert found.labels.tolist() == [label for _, label, _ in expected], f"case {seed}"
        for mask, (_, _, logits) in zip(found.masks, expected, strict=True):
            assert not ((mask != (logits > 0)) & (np.abs(logits) > UNSURE)).any(), f"case {seed}"


def make_prediction(class_logits: list[list[float]], heights: list[float]) -> Prediction:
    """Query q has the same logit `heights[q]` everywhere."""
    embeddings = torch.tensor(heights)[None, :, None]
    return Prediction(torch.tensor([class_logits]), embeddings, torch.ones(1, 1, 1, 8, 8))


def test_query_appears_with_several_classes():
    prediction = make_prediction([[4.0, 3.0, 0.0]], [9.0])
    found = instances(prediction, Sizes((32, 32), (32, 32)), is_thing=torch.tensor([True, True]))
    assert found.labels.tolist() == [0, 1]
    assert found.masks.all()


def test_score_is_class_probability_times_mean_mask_probability():
    prediction = make_prediction([[0.0, 0.0]], [1.0])
    found = instances(prediction, Sizes((32, 32), (32, 32)), is_thing=torch.tensor([True]))
    assert found.scores[0] == pytest.approx(0.5 * torch.tensor(1.0).sigmoid().item(), abs=1e-6)


def test_stuff_is_removed_after_the_top_pairs_are_taken():
    """Two stuff pairs fill the list of two; the thing below them does not move up."""
    prediction = make_prediction([[9.0, 0.0, 0.0], [9.0, 8.0, 0.0]], [3.0, 3.0])
    is_thing = torch.tensor([False, True])
    sizes = Sizes((32, 32), (32, 32))
    found = instances(prediction, sizes, is_thing=is_thing, max_detections=2)
    assert found.masks.shape == (0, 1, 32, 32)
    assert found.labels.shape == found.scores.shape == (0,)
    assert len(instances(prediction, sizes, is_thing=is_thing).labels) == 2


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, 1.0])
def test_threshold_leaves_out_what_scores_below_it(threshold):
    for seed in range(5):
        prediction, sizes, is_thing = random_case(seed)
        everything = instances(prediction, sizes, is_thing=is_thing)
        some = instances(prediction, sizes, is_thing=is_thing, threshold=threshold)
        expected = everything.select(everything.scores >= threshold)
        np.testing.assert_allclose(some.scores, expected.scores, atol=1e-6)
        assert (some.labels == expected.labels).all()
        assert (some.masks == expected.masks).all()


def test_empty_mask_stays_with_score_zero():
    prediction = make_prediction([[5.0, 0.0], [0.0, 0.0]], [-3.0, 3.0])
    found = instances(prediction, Sizes((32, 32), (9, 7)), is_thing=torch.tensor([True]))
    assert found.scores[1] == 0
    assert found.masks.reshape(2, -1).any(1).tolist() == [True, False]


def test_equal_pairs_all_count():
    prediction = make_prediction([[1.0, 1.0, 1.0]] * 4, [2.0] * 4)
    found = instances(
        prediction, Sizes((32, 32), (5, 5)), is_thing=torch.tensor([True, True]), max_detections=6
    )
    assert len(found.scores) == 6
    assert len(set(found.scores.tolist())) == 1


def test_instances_do_not_depend_on_the_padding():
    """Beyond the ring that interpolation touches, whatever stands in the padding is cut off."""
    prediction, _, is_thing = random_case(1)
    ringed = F.pad(prediction.mask_features[0], (0, 1, 0, 1), mode="replicate")
    wide = F.pad(ringed, (0, 7, 0, 7), value=1e3)[None]
    height, width = (4 * side for side in prediction.mask_features.shape[-2:])
    plain, padded = (
        instances(
            prediction._replace(mask_features=features),
            Sizes((height, width), (37, 53)),
            is_thing=is_thing,
        )
        for features in (prediction.mask_features, wide)
    )
    assert (plain.masks == padded.masks).all()
    assert (plain.labels == padded.labels).all()
    np.testing.assert_allclose(plain.scores, padded.scores, atol=1e-6)
