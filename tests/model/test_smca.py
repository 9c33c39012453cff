"""The Gaussian prior, value by value; what it does to the attention."""

import math

import pytest
import torch
from torch import nn

from mask2former.model.smca import SMALLEST, GaussianPrior, ModulatedAttention
from mask2former.model.transformer_decoder import CrossAttention, Memory

DIM, HEADS = 16, 4


def wake(prior: GaussianPrior) -> GaussianPrior:
    """Shifts and extents begin equal for all queries; here they differ."""
    for linear in (prior.shift, prior.extent):
        nn.init.normal_(linear.weight, std=0.1)
    return prior


@pytest.fixture
def block() -> ModulatedAttention:
    torch.manual_seed(0)
    block = ModulatedAttention(DIM, HEADS, 0.0)
    wake(block.prior)
    return block


@pytest.fixture
def memory() -> Memory:
    torch.manual_seed(1)
    tokens = torch.randn(2, 12, DIM)
    return Memory(tokens, tokens + 1, torch.randn(2, DIM, 12), torch.rand(12, 2))


@torch.no_grad()
def test_prior_is_the_gaussian_of_the_paper():
    torch.manual_seed(0)
    prior, queries, places = (
        wake(GaussianPrior(DIM, HEADS)),
        torch.randn(2, 3, DIM),
        torch.rand(5, 2),
    )
    found = prior(queries, places)
    assert found.shape == (2, HEADS, 3, 5)
    for batch in range(2):
        for query in range(3):
            told = queries[batch, query]
            centre = prior.centre(told).sigmoid()
            for head in range(HEADS):
                own = slice(2 * head, 2 * head + 2)
                middle = centre + prior.shift(told)[own]
                extent = (1 + prior.extent(told)[own].exp()).log() + SMALLEST
                for token in range(5):
                    away = [
                        float((places[token, axis] - middle[axis]) / extent[axis])
                        for axis in (0, 1)
                    ]
                    gaussian = math.exp(-(away[0] ** 2)) * math.exp(-(away[1] ** 2))
                    expected = math.log(gaussian)
                    assert float(found[batch, head, query, token]) == pytest.approx(
                        expected, rel=1e-4, abs=1e-5
                    )


@torch.no_grad()
def test_attention_is_multiplied_by_the_prior_and_normed_again(block, memory):
    queries, position = torch.randn(2, 3, DIM), torch.randn(2, 3, DIM)
    placed = queries + position
    plain = block.attention.weigh(placed, memory.keys, None)
    weighed = plain * block.prior(placed, memory.places).exp()
    weighed = weighed / weighed.sum(-1, keepdim=True)
    values = block.attention.project(placed, memory.keys, memory.values)[2]
    read = block.attention.out_proj((weighed @ values).transpose(1, 2).flatten(2))
    found = block(queries, position, memory, None)
    torch.testing.assert_close(found, block.norm(queries + read), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_wide_prior_is_plain_attention(block, memory):
    nn.init.zeros_(block.prior.extent.weight)
    nn.init.constant_(block.prior.extent.bias, 1e4)
    plain = CrossAttention(DIM, HEADS, 0.0)
    plain.load_state_dict(block.state_dict(), strict=False)
    queries, position = torch.randn(2, 3, DIM), torch.randn(2, 3, DIM)
    expected = plain(queries, position, memory, None)
    torch.testing.assert_close(block(queries, position, memory, None), expected)


@torch.no_grad()
def test_a_narrow_prior_reads_the_nearest_token_alone(block, memory):
    for told, bias in ((block.prior.extent, -50.0), (block.prior.shift, 0.0)):
        nn.init.zeros_(told.weight)
        nn.init.constant_(told.bias, bias)
    nn.init.zeros_(block.prior.centre[2].weight)
    aim = torch.logit(memory.places[7].clamp(0.02, 0.98))
    block.prior.centre[2].bias.copy_(aim)
    queries = torch.randn(2, 3, DIM)
    prior = block.prior(queries, memory.places)
    assert (prior.argmax(-1) == 7).all()
    assert (block.attention.weigh(queries, memory.keys, prior)[..., 7] > 0.999).all()


@torch.no_grad()
def test_prior_and_mask_compose(block, memory):
    queries, position = torch.randn(2, 3, DIM), torch.randn(2, 3, DIM)
    allowed = torch.rand(2, 3, 12) > 0.5
    allowed[..., 0] = True
    changed = memory._replace(values=memory.values.clone())
    hidden = ~allowed.any(1)  # (B, S): no query may read these
    changed.values[hidden] = 100.0
    expected = block(queries, position, memory, allowed)
    assert torch.equal(block(queries, position, changed, allowed), expected)


def test_fresh_prior_is_wide_and_moves_with_the_query():
    torch.manual_seed(0)
    prior = GaussianPrior(DIM, HEADS)
    centre, extent = prior.place(torch.randn(1, 50, DIM))
    assert (extent - 1).abs().max() < 0.05
    assert (centre >= 0).all()
    assert (centre <= 1).all()
    assert centre.std(2).min() > 0.01


def test_gradient_reaches_every_parameter(block, memory):
    block(torch.randn(2, 3, DIM), torch.randn(2, 3, DIM), memory, None).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    assert all(p.grad.any() for p in block.prior.parameters())
