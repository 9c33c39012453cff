"""Batch norms multiplied into the convolutions before them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mask2former.model.kernels.convolutions import convolve_scaled

BatchNorm = Any  # nn.BatchNorm2d, or one of timm's frozen norms, which have the same parts


@torch.no_grad()
def fold_batch_norms(network: nn.Module, example: Tensor) -> int:
    """Let convolutions do the work of the batch norms that read them; returns how many.

    In evaluation a batch norm is a product and a sum for each channel. The product goes into the
    weights and the sum becomes the convolution's bias; the norm then changes nothing. In evaluation
    the network stays the same function (to rounding), with the same names in its state; frozen
    norms may also learn on. `example` is an input, on which is seen what reads what.
    """
    pairs = _find_pairs(network, example)
    for convolution, norm in pairs:
        scale, shift = _constants(norm)
        convolution.weight.mul_(scale[:, None, None, None])
        norm.weight.fill_(1.0)
        norm.bias.copy_(shift)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
        convolution.forward = partial(_convolve, convolution, norm)
        norm.forward = partial(_pass_on, norm, partial(type(norm).forward, norm))
    return len(pairs)


def fold_frozen_norms(network: nn.Module, example: Tensor) -> int:
    """Let convolutions do the work of the frozen norms that read them, in training; how many.

    Each step multiplies the weights, which learn, by the norm's constants, instead of the maps.
    """
    pairs = [pair for pair in _find_pairs(network, example) if not _learns(pair[1])]
    for convolution, norm in pairs:
        convolution.forward = partial(_convolve_scaled, convolution, norm)
        norm.forward = partial(_activate, norm)
    return len(pairs)


def _learns(norm: BatchNorm) -> bool:
    """Whether statistics or parameters of a norm may change."""
    return isinstance(norm, nn.modules.batchnorm._NormBase) or any(True for _ in norm.parameters())


@torch.no_grad()
def _find_pairs(network: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, BatchNorm]]:
    """Convolutions without bias, each with the one batch norm that reads it at once."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensors are kept, or ids would come again
    pairs: list[tuple[nn.Conv2d, BatchNorm]] = []

    def remember(module: nn.Module, _: tuple, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        made[id(output)] = module, output

    def look(module: nn.Module, inputs: tuple) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    hooks = []
    for module in network.modules():
        if type(module) is nn.Conv2d and module.bias is None:
            hooks.append(module.register_forward_hook(remember))
        elif getattr(module, "running_var", None) is not None:
            hooks.append(module.register_forward_pre_hook(look))
    modes = [(module, module.training) for module in network.modules()]
    network.eval()(example)  # statistics do not learn from it
    for module, mode in modes:
        module.training = mode
    for hook in hooks:
        hook.remove()
    convolutions = [convolution for convolution, _ in pairs]
    return [pair for pair in pairs if convolutions.count(pair[0]) == 1]


def _constants(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """What a norm in evaluation multiplies by and adds, for each channel."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _convolve(convolution: nn.Conv2d, norm: BatchNorm, x: Tensor) -> Tensor:
    bias = None if norm.training else norm.bias
    return convolution._conv_forward(x, convolution.weight, bias)


def _convolve_scaled(convolution: nn.Conv2d, norm: BatchNorm, x: Tensor) -> Tensor:
    return convolve_scaled(convolution, x, *_constants(norm))


def _pass_on(norm: BatchNorm, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A folded norm; some of timm's do their activation too."""
    return forward(x) if norm.training else _activate(norm, x)


def _activate(norm: BatchNorm, x: Tensor) -> Tensor:
    for name in ("drop", "act"):
        if (part := getattr(norm, name, None)) is not None:
            x = part(x)
    return x
