"""3 x 3 convolutions by half the multiplications, for graphs of one size.

Winograd's F(4, 3) along one axis (Lavin and Gray, 1509.09308): four rows of outputs are made from
six rows of inputs by six convolutions of 1 x 3 instead of twelve. The sums before and after cost a
runtime little. `winograd` does it along both axes, in steps that no runtime has.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE, REACH = 4, 6
"""Outputs and inputs of a tile, along one axis."""
WEIGHTS = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
"""From three weights to the six factors of the products: the paper's G."""


@torch.no_grad()
def halve_convolutions(network: nn.Module, example: Tensor) -> int:
    """Let convolutions take half the products where that pays; returns how many.

    The network stays the same function (to rounding) of inputs of the size of `example`.
    """
    chosen: set[nn.Conv2d] = set()

    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(module, nn.Conv2d)
        if pays(module, inputs[0]):
            chosen.add(module)

    hooks = [
        module.register_forward_pre_hook(look)
        for module in network.modules()
        if type(module) is nn.Conv2d
    ]
    network(example)
    for hook in hooks:
        hook.remove()
    for convolution in chosen:
        axis = convolution.weight.new_tensor(WEIGHTS)
        factors = torch.einsum("ia,kcab->ikcb", axis, convolution.weight)
        convolution.register_buffer("factors", factors.unsqueeze(3), persistent=False)
        convolution._conv_forward = partial(_convolve, convolution)
    return len(chosen)


def pays(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Whether rows come in fours, and half the products are worth twice the weights."""
    return x.shape[-2] % TILE == 0 and is_suited(convolution, x.shape[-2] * x.shape[-1] // TILE)


def is_suited(convolution: nn.Conv2d, tiles: int) -> bool:
    """Whether a convolution is of the kind, and has enough tiles of outputs to gain by it."""
    shape = convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation
    if shape != ((3, 3), (1, 1), (1, 1), (1, 1)) or convolution.groups != 1:
        return False
    channels = convolution.in_channels, convolution.out_channels
    return min(channels) >= 32 and tiles >= max(channels)


def _convolve(convolution: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (N, C, H, W) -> (N, K, H, W); the factors (6, K, C, 1, 3) stand for the weight."""
    factors, last = convolution.get_buffer("factors"), x.shape[2] - TILE + 1
    padded = F.pad(x, (0, 0, 1, TILE - 1))
    rows = [padded[:, :, first : first + last : TILE] for first in range(REACH)]
    products = [
        F.conv2d(row, factor, padding=(0, 1))
        for row, factor in zip(_sum_inputs(*rows), factors, strict=True)
    ]
    out = torch.stack(_sum_products(*products), 3).flatten(2, 3)
    return out if bias is None else out + bias.view(-1, 1, 1)


def _sum_inputs(
    r0: Tensor, r1: Tensor, r2: Tensor, r3: Tensor, r4: Tensor, r5: Tensor
) -> tuple[Tensor, ...]:
    """Six rows of inputs -> the six that are convolved: the paper's B transposed."""
    return (
        4 * r0 - 5 * r2 + r4,
        (r3 + r4) - 4 * (r1 + r2),
        (r4 - r3) + 4 * (r1 - r2),
        (r4 - r2) + 2 * (r3 - r1),
        (r4 - r2) - 2 * (r3 - r1),
        4 * r1 - 5 * r3 + r5,
    )


def _sum_products(
    p0: Tensor, p1: Tensor, p2: Tensor, p3: Tensor, p4: Tensor, p5: Tensor
) -> tuple[Tensor, ...]:
    """Six rows of products -> four rows of outputs: the paper's A transposed."""
    return (
        p0 + (p1 + p2) + (p3 + p4),
        (p1 - p2) + 2 * (p3 - p4),
        (p1 + p2) + 4 * (p3 + p4),
        (p1 - p2) + 8 * (p3 - p4) + p5,
    )
