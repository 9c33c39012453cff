"""Linear layers and 1 x 1 convolutions as products of oneDNN's, in fp32 on CPUs.

PyTorch computes both by its BLAS, into fresh memory that it fills with the bias first. oneDNN adds
the bias while it multiplies, and reads maps whose channels lie last as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Convolve = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def multiply_by_onednn(network: nn.Module) -> None:
    """Let oneDNN do the products of a network, where that is possible.

    The network stays the same function (to rounding), learns as before, and has the same names.
    """
    for module in network.modules():
        match module:
            case nn.Linear():
                module.forward = partial(_linear, module)
            case nn.Conv2d() if _is_pointwise(module):
                plain = module._conv_forward
                module._conv_forward = partial(_pointwise, plain, module.stride)


def feed_forward(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """Two linear layers with ReLU between them."""
    if is_possible(x):
        return FeedForward.apply(x, first.weight, first.bias, second.weight, second.bias)
    return second(F.relu(first(x)))


def is_possible(x: Tensor) -> bool:
    """Whether oneDNN can be asked for products of this tensor, and should."""
    plain = x.dtype == torch.float32 and x.device.type == "cpu"
    return (
        plain
        and is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def is_available() -> bool:
    """Whether this PyTorch has it."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    plain = convolution.groups == 1 and convolution.padding == (0, 0)
    return plain and convolution.kernel_size == (1, 1)


def _linear(linear: nn.Linear, x: Tensor) -> Tensor:
    if is_possible(x):
        return Product.apply(x, linear.weight, linear.bias)
    return F.linear(x, linear.weight, linear.bias)


def _pointwise(
    plain: Convolve, stride: tuple[int, int], x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    if is_possible(x) and x.ndim == 4:
        pixels = x[..., :: stride[0], :: stride[1]].permute(0, 2, 3, 1)
        return PixelProduct.apply(pixels, weight.flatten(1), bias)
    return plain(x, weight, bias)


class Product(torch.autograd.Function):
    """x (..., C), weight (K, C), bias (K,) or none -> (..., K)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        return own(_multiply(x, weight, bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad, (by_x, by_weight, by_bias) = grad.contiguous(), ctx.needs_input_grad
        return (
            _multiply(grad, weight.t()) if by_x else None,
            _multiply_rows(grad, x) if by_weight else None,
            _sum_rows(grad) if by_bias else None,
        )


class PixelProduct(Product):
    """The same for pixels (N, H, W, C), but the result is maps (N, K, H, W), channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return as_maps(Product.forward(ctx, x, weight, bias))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return Product.backward(ctx, grad.permute(0, 2, 3, 1))


class FeedForward(torch.autograd.Function):
    """Product, ReLU, product: the gradient between them is cut off at zero where it lies."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
    ) -> Tensor:
        x = x.contiguous()
        hidden = _multiply(x, weight1, bias1, "relu")
        ctx.save_for_backward(x, weight1, hidden, weight2)
        return own(_multiply(hidden, weight2, bias2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight1, hidden, weight2 = ctx.saved_tensors
        grad, (by_x, by_weight1, by_bias1, by_weight2, by_bias2) = (
            grad.contiguous(),
            ctx.needs_input_grad,
        )
        through = _multiply(grad, weight2.t())
        torch.ops.aten.threshold_backward.grad_input(through, hidden, 0, grad_input=through)
        return (
            _multiply(through, weight1.t()) if by_x else None,
            _multiply_rows(through, x) if by_weight1 else None,
            _sum_rows(through) if by_bias1 else None,
            _multiply_rows(grad, hidden) if by_weight2 else None,
            _sum_rows(grad) if by_bias2 else None,
        )


def own(view: Tensor) -> Tensor:
    """A fresh result as a tensor of its own: a view of one could not be changed in place."""
    place = view.storage_offset(), view.shape, view.stride()
    return view.new_empty(0).set_(view.untyped_storage(), *place)


def as_maps(pixels: Tensor) -> Tensor:
    """Fresh pixels (N, H, W, C) as maps (N, C, H, W), channels last."""
    return own(pixels.permute(0, 3, 1, 2))


def _multiply(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none"
) -> Tensor:
    weight = weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")


def _multiply_rows(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of a weight; here PyTorch's BLAS is as quick, and needs no copies."""
    return grad.flatten(0, -2).t() @ x.flatten(0, -2)


def _sum_rows(grad: Tensor) -> Tensor:
    return grad.flatten(0, -2).sum(0)
