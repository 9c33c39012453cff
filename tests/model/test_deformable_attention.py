"""The sampling op: the compiled kernel, `grid_sample` and a plain loop are one function."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mask2former.model import deformable_attention
from mask2former.model.deformable_attention import (
    DeformableAttention,
    pixel_sizes,
    sample_pyramid,
    sample_pyramid_with_grid,
)

sampling_kernel = pytest.importorskip("mask2former.model.sampling_kernel")

SHAPES = [(3, 5), (6, 10), (1, 7)]
HEADS, POINTS, CHANNELS = 2, 3, 4


def random_inputs(
    dtype: torch.dtype = torch.float64, *, queries: int = 11, spread: float = 1.6
) -> tuple[Tensor, Tensor, Tensor]:
    """Value, locations (many outside of 0..1) and weights for two pictures."""
    pixels = sum(height * width for height, width in SHAPES)
    place = (2, queries, HEADS, len(SHAPES), POINTS)
    value = torch.randn(2, pixels, HEADS, CHANNELS, dtype=dtype)
    locations = (torch.rand(*place, 2, dtype=dtype) - 0.5) * spread + 0.5
    return value, locations, torch.randn(place, dtype=dtype)


def sample_with_loops(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The definition: one query, head, level, point and corner at a time."""
    batch, queries, heads, levels, points, _ = locations.shape
    out = value.new_zeros(batch, queries, heads, value.shape[-1])
    starts = [0, *itertools.accumulate(height * width for height, width in SHAPES)]
    where = itertools.product(*map(range, (batch, queries, heads, levels, points)))
    for n, q, head, level, point in where:
        height, width = SHAPES[level]
        x, y = locations[n, q, head, level, point].tolist()
        x, y = x * width - 0.5, y * height - 0.5
        for row, column in itertools.product(
            *[(math.floor(at), math.floor(at) + 1) for at in (y, x)]
        ):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(x - column)) * (1 - abs(y - row))
                read = value[n, starts[level] + row * width + column, head]
                out[n, q, head] += weights[n, q, head, level, point] * share * read
    return out.flatten(2)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("sample", [sampling_kernel.sample_pyramid, sample_pyramid_with_grid])
def test_sampling_equals_a_plain_loop(sample):
    value, locations, weights = random_inputs(queries=5)
    expected = sample_with_loops(value, locations, weights)
    torch.testing.assert_close(
        sample(value, SHAPES, locations, weights), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)], ids=["fp32", "fp64"]
)
def test_kernel_equals_grid_sample_forward_and_backward(dtype, tolerance):
    inputs = random_inputs(dtype, queries=40)
    above = torch.randn(2, 40, HEADS * CHANNELS, dtype=dtype)
    found = []
    for sample in (sampling_kernel.sample_pyramid, sample_pyramid_with_grid):
        value, locations, weights = (tensor.clone().requires_grad_() for tensor in inputs)
        out = sample(value, SHAPES, locations, weights)
        found.append((out, *torch.autograd.grad(out, (value, locations, weights), above)))
    for ours, theirs in zip(*found, strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=tolerance * scale)


def test_kernel_takes_strided_inputs_and_gradients():
    value, locations, weights = random_inputs()
    strided = value.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    plain = value.clone().requires_grad_()
    for tensor in (strided, plain):
        out = sampling_kernel.sample_pyramid(tensor, SHAPES, locations, weights)
        out[..., ::2].sum().backward()
    torch.testing.assert_close(strided.grad, plain.grad)


def test_kernel_agrees_on_borders_and_corners():
    value, locations, weights = random_inputs(queries=60)
    edges = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], dtype=torch.float64)
    picks = torch.randint(len(edges), locations.shape)
    sizes = torch.tensor([(width, height) for height, width in SHAPES], dtype=torch.float64)
    half_pixel = (torch.randint(-1, 2, locations.shape) * 0.5) / sizes[:, None]
    locations = edges[picks] + half_pixel
    ours = sampling_kernel.sample_pyramid(value, SHAPES, locations, weights)
    theirs = sample_pyramid_with_grid(value, SHAPES, locations, weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("far", [-1e6, 1e6, -1e30, 1e30, float("inf"), float("nan")])
def test_kernel_reads_nothing_far_outside(far):
    value, locations, weights = random_inputs()
    locations[0, 3] = far
    locations.requires_grad_()
    value.requires_grad_()
    out = sampling_kernel.sample_pyramid(value, SHAPES, locations, weights)
    assert (out[0, 3] == 0).all()
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(value.grad).all()
    assert (locations.grad[0, 3] == 0).all()


def test_kernel_gradients_pass_gradcheck():
    value, locations, weights = random_inputs(queries=2)
    inputs = tuple(tensor.requires_grad_() for tensor in (value, locations, weights))
    assert torch.autograd.gradcheck(
        lambda *tensors: sampling_kernel.sample_pyramid(tensors[0], SHAPES, *tensors[1:]), inputs
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of opcheck itself
def test_kernel_is_a_well_formed_operator():
    value, locations, weights = random_inputs(torch.float32)
    shapes = torch.tensor(SHAPES)
    forward = torch.ops.mask2former.sample_pyramid.default
    torch.library.opcheck(
        forward,
        (value.requires_grad_(), shapes, locations.requires_grad_(), weights.requires_grad_()),
    )
    backward = torch.ops.mask2former.sample_pyramid_backward.default
    grad = torch.randn(2, 11, HEADS * CHANNELS)
    plain = [tensor.detach() for tensor in (value, locations, weights)]
    torch.library.opcheck(backward, (grad, plain[0], shapes, *plain[1:]))


def test_kernel_gives_the_same_on_two_threads(two_threads):
    value, locations, weights = random_inputs(torch.float32, queries=7)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        tensors = [t.clone().requires_grad_() for t in (value, locations, weights)]
        out = sampling_kernel.sample_pyramid(tensors[0], SHAPES, *tensors[1:])
        found.append((out, *torch.autograd.grad(out.square().sum(), tensors)))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_kernel_leaves_the_number_of_threads_alone(two_threads):
    value, locations, weights = random_inputs(torch.float32)
    sampling_kernel.sample_pyramid(value, SHAPES, locations, weights)
    assert torch.get_num_threads() == 2


def test_kernel_compiles_where_no_cache_can_be_written():
    names = {}
    exec("def double(array):\n    array *= 2", names)  # has no file to put a cache beside
    with pytest.raises(RuntimeError, match="no locator available"):
        sampling_kernel.njit(cache=True)(names["double"])
    array = np.ones(3)
    sampling_kernel._compiled(names["double"])(array)
    assert (array == 2).all()


def test_sampling_works_without_the_kernel(monkeypatch):
    value, locations, weights = random_inputs()
    compiled = sample_pyramid(value, SHAPES, locations, weights)
    monkeypatch.setattr(deformable_attention, "sampling_kernel", None)
    torch.testing.assert_close(sample_pyramid(value, SHAPES, locations, weights), compiled)


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
    out = attention(
        torch.randn(1, 3, 8, dtype=torch.float64),
        torch.full((3, 2), 0.5, dtype=torch.float64),
        memory,
        shapes,
        pixel_sizes(shapes, memory),
    )
    expected = attention.output_proj(attention.value_proj(memory[:, :3]))
    torch.testing.assert_close(out, expected)


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="10 cannot be divided among 3"):
        DeformableAttention(10, heads=3)
