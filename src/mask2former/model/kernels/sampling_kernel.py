"""The compiled CPU kernel of deformable sampling, forward and backward (needs numba)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from mask2former.model.kernels.compiled import as_array, compiled, share_out


def sample_pyramid(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """See `mask2former.model.deformable_attention.sample_pyramid`."""
    assert not reference.requires_grad, "the kernel gives references no gradient"
    table = torch.tensor(list(shapes), dtype=torch.int64)
    learned = offsets.contiguous(), logits.contiguous()
    return _sample(value.contiguous(), table, reference.contiguous(), *learned)


@torch.library.custom_op("mask2former::sample_pyramid", mutates_args=())
def _sample(
    value: Tensor, shapes: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    batch, queries = offsets.shape[:2]
    out = value.new_zeros(batch, queries, *value.shape[2:])
    arrays = [as_array(t) for t in (value, shapes, reference, offsets, logits, out)]
    share_out(_forward, range(batch * queries), *arrays)
    return out.flatten(2)


@_sample.register_fake
def _(value: Tensor, shapes: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    return value.new_empty(*offsets.shape[:2], value.shape[2] * value.shape[3])


@torch.library.custom_op("mask2former::sample_pyramid_backward", mutates_args=())
def _sample_backward(
    grad: Tensor,
    value: Tensor,
    shapes: Tensor,
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.zeros_like(value), torch.empty_like(offsets), torch.empty_like(logits)
    grad = grad.contiguous().unflatten(-1, value.shape[2:])
    arrays = [as_array(t) for t in (grad, value, shapes, reference, offsets, logits, *grads)]
    share_out(_backward, range(value.shape[0] * value.shape[2]), *arrays)
    return grads


@_sample_backward.register_fake
def _(
    grad: Tensor,
    value: Tensor,
    shapes: Tensor,
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(value), torch.empty_like(offsets), torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple:
    value, offsets, logits = _sample_backward(grad, *ctx.saved_tensors)
    return value, None, None, offsets, logits


_sample.register_autograd(_differentiate, setup_context=_save)


# Beside an integer a float becomes 64 bits wide here: places and shares are computed so, and
# made `real`, of the value's own width, before they meet the channels.


@njit(inline="always")
def _softmax(logits, weights):
    """Write the softmax of logits (levels, points) to weights; one NaN makes NaN of all."""
    highest = logits[0, 0]
    for logit in logits.flat:
        highest = max(highest, logit)
    for i, logit in enumerate(logits.flat):
        weights.flat[i] = np.exp(logit - highest)
    weights /= weights.sum()


@njit(inline="always")
def _through_softmax(weights, grad):
    """Turn the gradient of the weights into that of their logits, in place."""
    mean = 0.0
    for i, weight in enumerate(weights.flat):
        mean += weight * grad.flat[i]
    for i, weight in enumerate(weights.flat):
        grad.flat[i] = weight * (grad.flat[i] - mean)


@njit(inline="always")
def _corner(x, y, corner):
    """Column, row, bilinear weight of one of the four neighbours, and the weight's slopes."""
    column, row = int(np.floor(x)), int(np.floor(y))
    right, below = x - column, y - row
    if corner == 0:
        return column, row, (1 - right) * (1 - below), below - 1, right - 1
    if corner == 1:
        return column + 1, row, right * (1 - below), 1 - below, -right
    if corner == 2:
        return column, row + 1, (1 - right) * below, -below, 1 - right
    return column + 1, row + 1, right * below, below, right


@njit(inline="always")
def _neighbours(place, length):
    """Along one axis: the two indices beside a place and their weights, 0 outside the map."""
    before = int(np.floor(place))
    after = before + 1
    share = place - before
    first = 1 - share if before >= 0 else 0.0
    second = share if after < length else 0.0
    return max(before, 0), min(after, length - 1), first, second


@compiled
def _forward(first, last, value, shapes, reference, offsets, logits, out):
    _, queries, heads, levels, points, _ = offsets.shape
    channels, real = value.shape[3], value.dtype.type
    weights = np.empty((levels, points), logits.dtype)
    for turn in range(first, last):  # a turn is one query of one picture
        n, q = turn // queries, turn % queries
        for head in range(heads):
            _softmax(logits[n, q, head], weights)
            total = out[n, q, head]
            start = 0
            for level in range(levels):
                height, width = shapes[level]
                for point in range(points):
                    x = reference[q, 0] * width + offsets[n, q, head, level, point, 0] - 0.5
                    y = reference[q, 1] * height + offsets[n, q, head, level, point, 1] - 0.5
                    if not (x > -1 and x < width and y > -1 and y < height):
                        continue
                    left, right, at_left, at_right = _neighbours(x, width)
                    top, bottom, at_top, at_bottom = _neighbours(y, height)
                    weight = weights[level, point]
                    at_top, at_bottom = at_top * weight, at_bottom * weight
                    top, bottom = start + top * width, start + bottom * width
                    a, b = value[n, top + left, head], value[n, top + right, head]
                    c, d = value[n, bottom + left, head], value[n, bottom + right, head]
                    wa, wb = real(at_top * at_left), real(at_top * at_right)
                    wc, wd = real(at_bottom * at_left), real(at_bottom * at_right)
                    for i in range(channels):  # all four at once: the sum is loaded only once
                        total[i] += wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i]
                start += height * width


@compiled
def _backward(
    first,
    last,
    grad,
    value,
    shapes,
    reference,
    offsets,
    logits,
    grad_value,
    grad_offsets,
    grad_logits,
):
    _, queries, heads, levels, points, _ = offsets.shape
    channels, real = value.shape[3], value.dtype.type
    weights = np.empty((levels, points), logits.dtype)
    for turn in range(first, last):  # a turn is one head of one picture: no other writes its rows
        n, head = turn // heads, turn % heads
        for q in range(queries):
            _softmax(logits[n, q, head], weights)
            above = grad[n, q, head]
            start = 0
            for level in range(levels):
                height, width = shapes[level]
                for point in range(points):
                    x = reference[q, 0] * width + offsets[n, q, head, level, point, 0] - 0.5
                    y = reference[q, 1] * height + offsets[n, q, head, level, point, 1] - 0.5
                    weight = weights[level, point]
                    by_x = by_y = by_weight = 0.0
                    if x > -1 and x < width and y > -1 and y < height:
                        for corner in range(4):
                            column, row, share, slope_x, slope_y = _corner(x, y, corner)
                            if 0 <= column < width and 0 <= row < height:
                                at = start + row * width + column
                                read, write = value[n, at, head], grad_value[n, at, head]
                                part, dot = real(weight * share), real(0)
                                for c in range(channels):
                                    dot += above[c] * read[c]
                                    write[c] += part * above[c]
                                by_weight += share * dot
                                by_x += slope_x * dot
                                by_y += slope_y * dot
                    grad_logits[n, q, head, level, point] = by_weight
                    grad_offsets[n, q, head, level, point, 0] = by_x * weight
                    grad_offsets[n, q, head, level, point, 1] = by_y * weight
                start += height * width
            _through_softmax(weights, grad_logits[n, q, head])
