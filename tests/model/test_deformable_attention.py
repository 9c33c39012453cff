"""The sampling op: the compiled kernel, `grid_sample` and a plain loop are one function."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from mask2former.model import deformable_attention
from mask2former.model.deformable_attention import (
    DeformableAttention,
    sample_pyramid,
    sample_pyramid_with_grid,
)

sampling_kernel = pytest.importorskip("mask2former.model.kernels.sampling_kernel")

SHAPES = [(3, 5), (6, 10), (1, 7)]
HEADS, POINTS, CHANNELS = 2, 3, 4


def random_inputs(
    dtype: torch.dtype = torch.float64, *, queries: int = 11, spread: float = 3.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Value, reference, offsets (many reach outside) and logits for two pictures."""
    pixels = sum(height * width for height, width in SHAPES)
    place = (2, queries, HEADS, len(SHAPES), POINTS)
    value = torch.randn(2, pixels, HEADS, CHANNELS, dtype=dtype)
    offsets = torch.randn(*place, 2, dtype=dtype) * spread
    reference = torch.rand(queries, 2, dtype=dtype)
    return value, reference, offsets, 2 * torch.randn(place, dtype=dtype)


def sample_with_loops(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    """The definition: one query, head, level, point and corner at a time."""
    batch, queries, heads, levels, points, _ = offsets.shape
    out = value.new_zeros(batch, queries, heads, value.shape[-1])
    starts = [0, *itertools.accumulate(height * width for height, width in SHAPES)]
    for n, q, head in itertools.product(*map(range, (batch, queries, heads))):
        powers = logits[n, q, head].exp()
        for level, point in itertools.product(range(levels), range(points)):
            height, width = SHAPES[level]
            x, y = (reference[q] * reference.new_tensor([width, height])).tolist()
            x += offsets[n, q, head, level, point, 0].item() - 0.5
            y += offsets[n, q, head, level, point, 1].item() - 0.5
            for row, column in itertools.product(
                *[(math.floor(at), math.floor(at) + 1) for at in (y, x)]
            ):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(x - column)) * (1 - abs(y - row))
                    read = value[n, starts[level] + row * width + column, head]
                    out[n, q, head] += powers[level, point] / powers.sum() * share * read
    return out.flatten(2)


def differentiate(sample: Callable[..., Tensor], inputs: Sequence[Tensor], above: Tensor) -> tuple:
    """The output, and the gradients of value, offsets and logits under the gradient `above`."""
    value, reference, offsets, logits = inputs
    learned = [tensor.clone().requires_grad_() for tensor in (value, offsets, logits)]
    out = sample(learned[0], SHAPES, reference, *learned[1:])
    return out.detach(), *torch.autograd.grad(out, learned, above)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("sample", [sampling_kernel.sample_pyramid, sample_pyramid_with_grid])
def test_sampling_equals_a_plain_loop(sample):
    value, *rest = random_inputs(queries=5)
    expected = sample_with_loops(value, *rest)
    torch.testing.assert_close(sample(value, SHAPES, *rest), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)], ids=["fp32", "fp64"]
)
def test_kernel_equals_grid_sample_forward_and_backward(dtype, tolerance):
    inputs = random_inputs(dtype, queries=40)
    above = torch.randn(2, 40, HEADS * CHANNELS, dtype=dtype)
    found = [
        differentiate(sample, inputs, above)
        for sample in (sampling_kernel.sample_pyramid, sample_pyramid_with_grid)
    ]
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == dtype
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=tolerance * scale)


def test_kernel_takes_strided_inputs_and_gradients():
    inputs = random_inputs()
    strided = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in inputs]
    above = torch.randn(2, 11, 2 * HEADS * CHANNELS, dtype=torch.float64)[..., ::2]
    plain = differentiate(sampling_kernel.sample_pyramid, inputs, above.contiguous())
    found = differentiate(sampling_kernel.sample_pyramid, strided, above)
    assert all(torch.equal(one, two) for one, two in zip(found, plain, strict=True))


def test_kernel_agrees_on_borders_and_corners():
    """Where a place is a pixel's centre, half way between two, or half a pixel outside."""
    value, reference, offsets, logits = random_inputs(queries=60)
    reference[:] = 0.5
    sizes = torch.tensor([(width, height) for height, width in SHAPES], dtype=torch.float64)
    edges = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
    half_pixel = torch.randint(-1, 2, offsets.shape) * 0.5
    offsets = edges[torch.randint(len(edges), offsets.shape)] * sizes[:, None] + half_pixel
    ours = sampling_kernel.sample_pyramid(value, SHAPES, reference, offsets, logits)
    theirs = sample_pyramid_with_grid(value, SHAPES, reference, offsets, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("far", [-1e6, 1e6, -1e30, 1e30, float("inf"), float("nan")])
def test_kernel_reads_nothing_far_outside(far):
    inputs = random_inputs()
    inputs[2][0, 3] = far
    above = torch.ones(2, 11, HEADS * CHANNELS, dtype=torch.float64)
    out, *grads = differentiate(sampling_kernel.sample_pyramid, inputs, above)
    assert (out[0, 3] == 0).all()
    assert all(torch.isfinite(tensor).all() for tensor in (out, *grads))
    assert (grads[1][0, 3] == 0).all()
    assert (grads[2][0, 3] == 0).all()


@pytest.mark.parametrize("sample", [sampling_kernel.sample_pyramid, sample_pyramid_with_grid])
@pytest.mark.parametrize("place", [0, 4, len(SHAPES) * POINTS - 1])
def test_one_logit_that_is_no_number_spoils_its_query_and_head_alone(sample, place):
    value, reference, offsets, logits = random_inputs(spread=0.1)
    reference[:] = 0.5
    logits[1, 2, 1].view(-1)[place] = math.nan
    out = sample(value, SHAPES, reference, offsets, logits).unflatten(-1, (HEADS, CHANNELS))
    spoiled = torch.isnan(out)
    assert spoiled[1, 2, 1].all()
    assert spoiled.sum() == CHANNELS


def test_kernel_weighs_large_logits_as_softmax_does():
    """Neither e to the 1000 nor a logit of minus infinity is anything but a weight in 0..1."""
    inputs = random_inputs(torch.float32)
    inputs[3][0] += 1000
    inputs[3][1] -= 1000
    inputs[3][:, :, :, 0, 0] = -math.inf
    above = torch.randn(2, 11, HEADS * CHANNELS)
    ours, theirs = (
        differentiate(sample, inputs, above)
        for sample in (sampling_kernel.sample_pyramid, sample_pyramid_with_grid)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_kernel_gradients_pass_gradcheck():
    value, reference, offsets, logits = random_inputs(queries=2)
    learned = tuple(tensor.requires_grad_() for tensor in (value, offsets, logits))
    assert torch.autograd.gradcheck(
        lambda value, *rest: sampling_kernel.sample_pyramid(value, SHAPES, reference, *rest),
        learned,
    )


def test_kernel_refuses_a_reference_that_asks_for_a_gradient():
    value, reference, *rest = random_inputs()
    with pytest.raises(AssertionError, match="no gradient"):
        sampling_kernel.sample_pyramid(value, SHAPES, reference.requires_grad_(), *rest)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of opcheck itself
def test_kernel_is_a_well_formed_operator():
    value, reference, offsets, logits = random_inputs(torch.float32)
    constants = (torch.tensor(SHAPES), reference)
    grad = torch.randn(2, 11, HEADS * CHANNELS)
    backward = torch.ops.mask2former.sample_pyramid_backward.default
    opcheck(backward, (grad, value, *constants, offsets, logits))
    forward = torch.ops.mask2former.sample_pyramid.default
    value, offsets, logits = (t.requires_grad_() for t in (value, offsets, logits))
    opcheck(forward, (value, *constants, offsets, logits))


def test_kernel_gives_the_same_on_two_threads(two_threads):
    inputs = random_inputs(torch.float32, queries=7)
    above = torch.randn(2, 7, HEADS * CHANNELS)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(differentiate(sampling_kernel.sample_pyramid, inputs, above))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_sampling_works_without_the_kernel(monkeypatch):
    value, *rest = random_inputs()
    compiled = sample_pyramid(value, SHAPES, *rest)
    monkeypatch.setattr(deformable_attention, "sampling_kernel", None)
    torch.testing.assert_close(sample_pyramid(value, SHAPES, *rest), compiled)


def test_attention_starts_by_looking_around_itself():
    """Heads start at angles 2 pi h / heads and point p at p + 1 pixels; all weigh alike."""
    attention = DeformableAttention(16, heads=8, levels=1, points=2)
    offsets = attention.sampling_offsets(torch.randn(3, 16)).view(3, 8, 2, 2)
    around = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    expected = torch.tensor(around)[:, None] * torch.tensor([1, 2])[:, None]
    torch.testing.assert_close(offsets, expected.float().expand_as(offsets), atol=1e-5, rtol=0.0)
    assert (attention.attention_weights(torch.randn(3, 16)) == 0).all()


def test_attention_weights_are_shared_out_over_levels_and_points():
    """A constant memory comes out as it went in, where no point falls outside."""
    attention = DeformableAttention(8, heads=2, levels=2, points=2).double()
    torch.nn.init.normal_(attention.attention_weights.weight)
    shapes = [(20, 20), (30, 30)]
    memory = torch.randn(8, dtype=torch.float64).expand(1, 1300, 8)
    position = torch.randn(1300, 8, dtype=torch.float64)
    reference = torch.full((1300, 2), 0.5, dtype=torch.float64)
    out = attention(memory, position, reference, shapes)
    expected = attention.output_proj(attention.value_proj(memory))
    torch.testing.assert_close(out, expected)


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="10 cannot be divided among 3"):
        DeformableAttention(10, heads=3)
