"""The mean under a mask, token by token."""

import torch

from mask2former.model.mask_pooling import MaskPool, MaskPooling
from mask2former.model.transformer_decoder import Memory, inside_own_mask

DIM = 16


@torch.no_grad()
def test_pooling_is_the_mean_of_the_values_under_the_mask():
    torch.manual_seed(0)
    pool, value, allowed = MaskPool(DIM), torch.randn(2, 9, DIM), torch.rand(2, 3, 9) > 0.6
    allowed[..., 4] = True
    found = pool(torch.randn(2, 3, DIM), torch.randn(2, 9, DIM), value, allowed)
    for batch in range(2):
        for query in range(3):
            under = [value[batch, token] for token in range(9) if allowed[batch, query, token]]
            mean = sum(under) / len(under)
            torch.testing.assert_close(found[batch, query], pool.out_proj(mean))


@torch.no_grad()
def test_mask_comes_from_the_last_prediction():
    """sigmoid(embedding . features) >= 0.5 at the tokens; where nothing is on, all count."""
    torch.manual_seed(0)
    block, values = MaskPooling(DIM, 4, 0.0), torch.randn(1, 5, DIM)
    features = torch.tensor([[[1.0, -1.0, 2.0, -3.0, 0.5]]])
    memory = Memory(torch.randn(1, 5, DIM), values, features, torch.rand(5, 2))
    queries, position = torch.randn(1, 2, DIM), torch.randn(1, 2, DIM)
    allowed = inside_own_mask(torch.tensor([[[1.0], [0.0]]]), memory)  # logits of 0 are on
    found = block(queries, position, memory, allowed)
    for query, under in enumerate(([0, 2, 4], [0, 1, 2, 3, 4])):
        read = block.attention.out_proj(values[0, under].mean(0))
        torch.testing.assert_close(found[0, query], block.norm(queries[0, query] + read))


@torch.no_grad()
def test_shares_are_those_of_the_mean():
    pool, value, allowed = MaskPool(DIM), torch.randn(2, 9, DIM), torch.rand(2, 3, 9) > 0.5
    allowed[..., 0] = True
    shares = pool.weigh(value[:, :3], value, allowed)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 1, 3))
    expected = pool(value[:, :3], value, value, allowed)
    torch.testing.assert_close(pool.out_proj(shares[:, 0] @ value), expected)


def test_gradient_reaches_every_parameter():
    block, tokens = MaskPooling(DIM, 4, 0.0), torch.randn(2, 9, DIM)
    memory = Memory(tokens, tokens, torch.randn(2, DIM, 9), torch.rand(9, 2))
    everything = torch.ones(2, 3, 9, dtype=torch.bool)
    queries = torch.randn(2, 3, DIM)
    block(queries, queries, memory, everything).pow(3).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in block.parameters())


@torch.no_grad()
def test_sum_over_many_tokens_has_room_in_half_precision():
    """Two frames of 1024 x 1024 at stride 8: their sum is no fp16 number, their mean is."""
    pool, value = MaskPool(DIM), torch.full((1, 32768, DIM), 5.0)
    everywhere = torch.ones(1, 1, 32768, dtype=torch.bool)
    with torch.autocast("cpu", torch.float16):
        found = pool(value[:, :1], value, value.half(), everywhere)
    torch.testing.assert_close(found.float(), pool.out_proj(value[:, :1]), atol=0.02, rtol=0.01)
