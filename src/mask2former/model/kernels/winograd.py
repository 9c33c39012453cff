"""3 x 3 convolutions with a quarter of the multiplications, on CPUs (needs numba).

Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, 1509.09308): a tile of 4 x 4 outputs is made from 6 x 6
inputs by 36 products for each pair of channels instead of 144. Sums before and after, along one
axis and then along the other, make up for it; they cost little beside the products. It is exact up
to rounding, which is about three times that of the direct sum.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from mask2former.model.kernels.compiled import as_array, compiled, share_out
from mask2former.model.kernels.halved import REACH, TILE, WEIGHTS, is_suited

BLOCK = 256
"""Tiles that are in work at a time: as many as stay near the processor."""


def pays(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Whether this way is the quickest for a convolution of maps x (N, C, H, W)."""
    # With few tiles it is the factors, four for each weight, that take the time.
    return is_suited(convolution, x.shape[0] * x.shape[-2] * x.shape[-1] // TILE**2)


def transform_weight(weight: Tensor) -> Tensor:
    """Weight (K, C, 3, 3) -> the factors of the products (36, C, K)."""
    axis = torch.tensor(WEIGHTS, dtype=weight.dtype)
    both = torch.einsum("ia,jb->ijab", axis, axis).flatten(2).flatten(0, 1)  # (36, 9)
    return (both @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, *weight.shape[1::-1])


@torch.library.custom_op("mask2former::convolve", mutates_args=())
def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (N, C, H, W), weight (K, C, 3, 3), bias (K,) or none -> (N, H, W, K)."""
    factors = transform_weight(weight)
    pixels = x.permute(0, 2, 3, 1).contiguous()
    batch, height, width = pixels.shape[:3]
    channels, outputs = factors.shape[1:]
    out = pixels.new_empty(batch, height, width, outputs)
    shift = pixels.new_zeros(outputs) if bias is None else bias.contiguous()
    tiles = batch * -(-height // TILE) * -(-width // TILE)
    block = -(-tiles // -(-tiles // BLOCK))  # blocks alike, of at most BLOCK tiles
    read = pixels.new_empty(REACH**2, block, channels)
    made = pixels.new_empty(REACH**2, block, outputs)
    for start in range(0, tiles, block):
        turns = range(start, min(start + block, tiles))
        share_out(_read_tiles, turns, start, as_array(pixels), as_array(read))
        torch.bmm(read, factors, out=made)  # of the last block some tiles may be an earlier one's
        share_out(_write_tiles, turns, start, as_array(made), as_array(shift), as_array(out))
    return out


@convolve.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], *x.shape[2:], weight.shape[0])


# Rows of channels are passed one by one and each sum of them is a loop of its own: so loops become
# vector instructions. Factors are `real`, of the values' own width; an integer would double it.


@njit(inline="always")
def _sum_inputs(r0, r1, r2, r3, r4, r5, s0, s1, s2, s3, s4, s5):
    """Six rows of inputs -> the six sums that the products take: the paper's B transposed."""
    real = r0.dtype.type
    two, four, five = real(2), real(4), real(5)
    for c in range(r0.shape[0]):
        s0[c] = four * r0[c] - five * r2[c] + r4[c]
    for c in range(r0.shape[0]):
        s1[c] = (r3[c] + r4[c]) - four * (r1[c] + r2[c])
    for c in range(r0.shape[0]):
        s2[c] = (r4[c] - r3[c]) + four * (r1[c] - r2[c])
    for c in range(r0.shape[0]):
        s3[c] = (r4[c] - r2[c]) + two * (r3[c] - r1[c])
    for c in range(r0.shape[0]):
        s4[c] = (r4[c] - r2[c]) - two * (r3[c] - r1[c])
    for c in range(r0.shape[0]):
        s5[c] = four * r1[c] - five * r3[c] + r5[c]


@njit(inline="always")
def _sum_products(r0, r1, r2, r3, r4, r5, s0, s1, s2, s3):
    """Six rows of products -> the four outputs along one axis: the paper's A transposed."""
    real = r0.dtype.type
    two, four, eight = real(2), real(4), real(8)
    for c in range(r0.shape[0]):
        s0[c] = r0[c] + (r1[c] + r2[c]) + (r3[c] + r4[c])
    for c in range(r0.shape[0]):
        s1[c] = (r1[c] - r2[c]) + two * (r3[c] - r4[c])
    for c in range(r0.shape[0]):
        s2[c] = (r1[c] + r2[c]) + four * (r3[c] + r4[c])
    for c in range(r0.shape[0]):
        s3[c] = (r1[c] - r2[c]) + eight * (r3[c] - r4[c]) + r5[c]


@njit(inline="always")
def _place(tile, height, width):
    """Picture, first row and first column of a tile's outputs."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    inside = tile % (rows * columns)
    return tile // (rows * columns), TILE * (inside // columns), TILE * (inside % columns)


@njit(inline="always")
def _pixel(pixels, n, y, x, nothing):
    """The channels of a pixel, zero outside the picture."""
    if 0 <= y < pixels.shape[1] and 0 <= x < pixels.shape[2]:
        return pixels[n, y, x]
    return nothing


@compiled
def _read_tiles(first, last, start, pixels, read):
    _, height, width, channels = pixels.shape
    nothing = np.zeros(channels, pixels.dtype)
    half = np.empty((REACH, REACH, channels), pixels.dtype)
    for tile in range(first, last):
        n, top, left = _place(tile, height, width)
        for j in range(REACH):
            x = left + j - 1
            r0 = _pixel(pixels, n, top - 1, x, nothing)
            r1 = _pixel(pixels, n, top, x, nothing)
            r2 = _pixel(pixels, n, top + 1, x, nothing)
            r3 = _pixel(pixels, n, top + 2, x, nothing)
            r4 = _pixel(pixels, n, top + 3, x, nothing)
            r5 = _pixel(pixels, n, top + 4, x, nothing)
            s0, s1, s2 = half[0, j], half[1, j], half[2, j]
            s3, s4, s5 = half[3, j], half[4, j], half[5, j]
            _sum_inputs(r0, r1, r2, r3, r4, r5, s0, s1, s2, s3, s4, s5)
        place = tile - start
        for i in range(REACH):
            h, k = half[i], REACH * i
            s0, s1, s2 = read[k, place], read[k + 1, place], read[k + 2, place]
            s3, s4, s5 = read[k + 3, place], read[k + 4, place], read[k + 5, place]
            _sum_inputs(h[0], h[1], h[2], h[3], h[4], h[5], s0, s1, s2, s3, s4, s5)


@compiled
def _write_tiles(first, last, start, made, shift, out):
    _, height, width, channels = out.shape
    half = np.empty((TILE, REACH, channels), out.dtype)
    four = np.empty((TILE, channels), out.dtype)
    for tile in range(first, last):
        n, top, left = _place(tile, height, width)
        place = tile - start
        for j in range(REACH):
            r0, r1, r2 = made[j, place], made[REACH + j, place], made[2 * REACH + j, place]
            r3, r4 = made[3 * REACH + j, place], made[4 * REACH + j, place]
            r5 = made[5 * REACH + j, place]
            _sum_products(r0, r1, r2, r3, r4, r5, half[0, j], half[1, j], half[2, j], half[3, j])
        for i in range(min(TILE, height - top)):
            h = half[i]
            _sum_products(h[0], h[1], h[2], h[3], h[4], h[5], four[0], four[1], four[2], four[3])
            for j in range(min(TILE, width - left)):
                to, row = out[n, top + i, left + j], four[j]
                for c in range(channels):
                    to[c] = row[c] + shift[c]
