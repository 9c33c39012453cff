"""Linear layers and 1 x 1 convolutions as products of oneDNN's, for inference on CPUs.

PyTorch computes both by its BLAS, into fresh memory that it fills with the bias first. oneDNN adds
the bias while it multiplies, and reads maps whose channels lie last as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def multiply_by_onednn(network: nn.Module) -> None:
    """Let oneDNN do the products of a network in fp32; where gradients are wanted nothing changes.

    The network stays the same function (to rounding), with the same names in its state.
    """
    if not is_available():
        return
    for module in network.modules():
        match module:
            case nn.Linear():
                module.forward = partial(_linear, module)
            case nn.Conv2d() if _is_pointwise(module):
                module._conv_forward = partial(_pointwise, module._conv_forward)


def is_available() -> bool:
    """Whether this PyTorch can do it."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    plain = convolution.groups == 1 and convolution.padding == (0, 0)
    return plain and convolution.kernel_size == convolution.stride == (1, 1)


def _linear(linear: nn.Linear, x: Tensor) -> Tensor:
    if _is_possible(x):
        return _multiply(x, linear.weight, linear.bias)
    return F.linear(x, linear.weight, linear.bias)


def _pointwise(convolve: Product, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if _is_possible(x) and x.ndim == 4:
        pixels = x.permute(0, 2, 3, 1)
        return _multiply(pixels, weight.flatten(1), bias).permute(0, 3, 1, 2)
    return convolve(x, weight, bias)


def _is_possible(x: Tensor) -> bool:
    without_gradients = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return without_gradients and x.dtype == torch.float32 and x.device.type == "cpu"


def _multiply(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows.contiguous(), weight, bias, "none", [], "")
