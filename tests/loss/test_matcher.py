"""Matching: the published cost, and the cheapest assignment by trying them all."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mask2former.loss.matcher import Matcher, assign
from mask2former.loss.sampling import AllPixels, RandomPoints
from mask2former.structures import Prediction, Targets

CLASSES, DIM, HEIGHT, WIDTH = 3, 5, 24, 32


def random_predictions(layers: int, queries: int, *, frames: int = 1, batch: int = 2):
    features = torch.randn(batch, frames, DIM, HEIGHT // 4, WIDTH // 4)
    return [
        Prediction(
            torch.randn(batch, queries, CLASSES + 1), torch.randn(batch, queries, DIM), features
        )
        for _ in range(layers)
    ]


def random_target(objects: int, *, frames: int = 1, layers: int = 2) -> Targets:
    ids = torch.zeros(layers, frames, HEIGHT, WIDTH, dtype=torch.int32)
    for name in range(1, objects + 1):
        top, left = int(torch.randint(HEIGHT // 2, ())), int(torch.randint(WIDTH // 2, ()))
        ids[name % layers, :, top : top + 12, left : left + 12] = name
    return Targets(ids, torch.randint(CLASSES, (objects,)))


def naive_costs(prediction: Prediction, picture: int, target: Targets, points: Tensor) -> Tensor:
    """5 BCE - 2 class probability + 5 dice, over the points of all frames: (Q, N)."""
    masks = prediction.mask_logits()[picture]
    objects = target.labels.shape[0]
    names = torch.arange(1, objects + 1)[:, None, None, None, None]
    truth = (target.ids == names).any(1).float()  # (N, T, H, W)
    grid = (2 * points - 1)[None, None]
    logits, truth = (
        torch.stack(
            [
                F.grid_sample(
                    mask.unsqueeze(1), grid.expand(mask.shape[0], -1, -1, -1), align_corners=False
                )
                for mask in maps
            ]
        ).flatten(1)
        for maps in (masks, truth)
    )
    cost = torch.empty(logits.shape[0], objects)
    for query, x in enumerate(logits):
        for name, t in enumerate(truth):
            p = x.sigmoid()
            bce = F.binary_cross_entropy_with_logits(x, t)
            dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
            label = prediction.class_logits[picture, query].softmax(-1)[target.labels[name]]
            cost[query, name] = 5 * bce + 5 * dice - 2 * label
    return cost


def cheapest(cost: Tensor) -> float:
    """The sum of the best one-to-one assignment, by trying them all."""
    queries, objects = cost.shape
    if queries < objects:
        return cheapest(cost.T)
    tried = (
        sum(cost[q, n] for n, q in enumerate(order))
        for order in permutations(range(queries), objects)
    )
    return float(min(tried))


@pytest.mark.parametrize("frames", [1, 2])
def test_costs_are_the_published_ones(frames):
    predictions, target = random_predictions(2, 4, frames=frames), random_target(3, frames=frames)
    costs = Matcher(sampler=RandomPoints(50)).costs(
        predictions, 1, target, Generator().manual_seed(5)
    )
    points = torch.rand(1, 50, 2, generator=Generator().manual_seed(5))[0]
    for layer, prediction in enumerate(predictions):
        expected = naive_costs(prediction, 1, target, points)
        torch.testing.assert_close(costs[layer], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("queries", "objects"), [(5, 3), (4, 4), (3, 5), (1, 2), (6, 1)])
def test_matches_are_the_cheapest_of_all_assignments(queries, objects):
    predictions = random_predictions(3, queries)
    targets = [random_target(objects), random_target(objects)]
    matcher = Matcher(sampler=AllPixels())
    matches = matcher(predictions, targets, [None, None])
    assert len(matches) == 3
    for picture, target in enumerate(targets):
        costs = matcher.costs(predictions, picture, target, None)
        for layer, cost in zip(matches, costs, strict=True):
            pairs = layer[picture]
            assert len(set(pairs.queries.tolist())) == min(queries, objects)
            assert len(set(pairs.objects.tolist())) == min(queries, objects)
            found = cost[pairs.queries, pairs.objects].sum().item()
            assert found == pytest.approx(cheapest(cost), abs=1e-4)


def test_pictures_without_objects_match_nothing():
    predictions = random_predictions(2, 4)
    targets = [random_target(0), random_target(2)]
    for layer in Matcher(sampler=RandomPoints(9))(predictions, targets, [None, None]):
        assert [match.queries.shape[0] for match in layer] == [0, 2]
    nothing = [random_target(0), random_target(0)]
    for layer in Matcher(sampler=RandomPoints(9))(predictions, nothing, [None, None]):
        assert [match.objects.shape[0] for match in layer] == [0, 0]


def test_frames_share_the_points():
    """A clip of equal frames is matched at the points of one, so its costs are the picture's."""
    predictions, target = random_predictions(2, 4), random_target(3)
    clip = [
        p._replace(mask_features=p.mask_features.expand(-1, 3, -1, -1, -1)) for p in predictions
    ]
    clip_target = target._replace(ids=target.ids.expand(-1, 3, -1, -1))
    matcher = Matcher(sampler=RandomPoints(40), dice_weight=0.0)
    seeded = [Generator().manual_seed(5) for _ in range(2)]
    torch.testing.assert_close(
        matcher.costs(clip, 0, clip_target, seeded[0]),
        matcher.costs(predictions, 0, target, seeded[1]),
    )


def test_matching_half_precision_predictions_costs_fp32():
    predictions = [Prediction(*(t.bfloat16() for t in p)) for p in random_predictions(1, 4)]
    costs = Matcher(sampler=RandomPoints(9)).costs(predictions, 0, random_target(2), None)
    assert costs.dtype == torch.float32


def test_matching_keeps_no_gradient():
    predictions = random_predictions(1, 4)
    predictions[0].class_logits.requires_grad_()
    matcher = Matcher(sampler=RandomPoints(9))
    matches = matcher(predictions, [random_target(2)] * 2, [None, None])
    assert not any(index.requires_grad for match in matches[0] for index in match)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_matching_refuses_costs_that_are_not_finite(bad):
    predictions = random_predictions(1, 4)
    predictions[0].mask_embeddings[1, 2, 0] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        Matcher(sampler=RandomPoints(9))(predictions, [random_target(2)] * 2, [None, None])


def test_assign_takes_the_cheapest_pairs():
    match = assign(torch.tensor([[3.0, 1.0], [1.0, 2.0], [0.0, 5.0]]))
    assert dict(zip(match.objects.tolist(), match.queries.tolist(), strict=True)) == {0: 2, 1: 0}
