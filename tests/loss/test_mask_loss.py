"""Each mask loss: its two forms agree, and both are the published formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from mask2former.loss.mask_loss import MaskLoss, cross_entropy, dice, focal

LOSSES = {"cross_entropy": cross_entropy, "dice": dice, "focal": focal}


def naive_cross_entropy(logits: list[float], truth: list[float]) -> float:
    total = 0.0
    for x, t in zip(logits, truth, strict=True):
        p = 1 / (1 + math.exp(-x))
        total -= t * math.log(p) + (1 - t) * math.log(1 - p)
    return total / len(logits)


def naive_dice(logits: list[float], truth: list[float]) -> float:
    p = [1 / (1 + math.exp(-x)) for x in logits]
    overlap = sum(a * b for a, b in zip(p, truth, strict=True))
    return 1 - (2 * overlap + 1) / (sum(p) + sum(truth) + 1)


def hard_and_soft_truth(*shape: int) -> Tensor:
    soft = torch.rand(shape, dtype=torch.float64)
    return torch.where(torch.rand(shape) < 0.5, soft, soft.round())


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_pairwise_equals_pointwise_for_every_pair(loss: MaskLoss):
    logits = 4 * torch.randn(3, 5, 31, dtype=torch.float64)  # layers, queries, points
    truth = hard_and_soft_truth(4, 31)
    pairs = loss.pairwise(logits, truth)
    assert pairs.shape == (3, 5, 4)
    for layer in range(3):
        for query in range(5):
            expected = loss.pointwise(logits[layer, query].expand(4, -1), truth)
            torch.testing.assert_close(pairs[layer, query], expected)


@pytest.mark.parametrize(
    ("loss", "naive"),
    [(cross_entropy, naive_cross_entropy), (dice, naive_dice)],
    ids=["ce", "dice"],
)
def test_loss_is_the_published_formula(loss, naive):
    logits, truth = 3 * torch.randn(6, 17, dtype=torch.float64), hard_and_soft_truth(6, 17)
    expected = [naive(x, t) for x, t in zip(logits.tolist(), truth.tolist(), strict=True)]
    torch.testing.assert_close(loss.pointwise(logits, truth), torch.tensor(expected).double())


def test_focal_loss_is_torchvisions():
    logits = 3 * torch.randn(6, 17, dtype=torch.float64)
    truth = (torch.rand(6, 17) < 0.4).double()
    expected = sigmoid_focal_loss(logits, truth, alpha=0.25, gamma=2.0).mean(-1)
    torch.testing.assert_close(focal.pointwise(logits, truth), expected)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_loss_is_finite_and_differentiable_for_extreme_logits(loss: MaskLoss):
    logits = torch.tensor([[-1e4, -80.0, 0.0, 80.0, 1e4]], requires_grad=True)
    for truth in (torch.zeros(1, 5), torch.ones(1, 5)):
        value = loss.pointwise(logits, truth) + loss.pairwise(logits, truth)[0]
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_loss_of_no_mask_is_empty(loss: MaskLoss):
    assert loss.pointwise(torch.zeros(0, 7), torch.zeros(0, 7)).shape == (0,)
    assert loss.pairwise(torch.zeros(2, 3, 7), torch.zeros(0, 7)).shape == (2, 3, 0)
