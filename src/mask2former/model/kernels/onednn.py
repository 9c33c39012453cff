"""Products of oneDNN's in fp32 on CPUs, alone and with what stands beside them.

PyTorch computes them by its BLAS, into fresh memory that it fills with the bias first. oneDNN adds
the bias and takes the activation while it multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def multiply_by_onednn(network: nn.Module) -> None:
    """Let oneDNN do the products of a network's linear layers, where that is possible.

    The network stays the same function (to rounding), learns as before, and has the same names.
    """
    for module in network.modules():
        if type(module) is nn.Linear:
            module.forward = partial(_linear, module)


class Activation(NamedTuple):
    """What stands between two products."""

    overwrite: Callable[[Tensor], Tensor]  # of a fresh tensor: in its place, if it may be
    backward: Callable[..., Tensor]  # (gradient, input or what is in its place, grad_input=)
    name: str  # oneDNN's
    algorithm: str


relu = Activation(
    overwrite=torch.relu_,
    backward=partial(torch.ops.aten.threshold_backward.grad_input, threshold=0),
    name="relu",
    algorithm="",
)
gelu = Activation(
    overwrite=F.gelu,
    backward=torch.ops.aten.gelu_backward.grad_input,
    name="gelu",
    algorithm="none",
)


def feed_forward(
    x: Tensor, first: nn.Linear, second: nn.Linear, activation: Activation = relu
) -> Tensor:
    """Two linear layers with an activation between them."""
    if not is_possible(x) or not _are_bare(first, second):
        return second(activation.overwrite(first(x)))
    if torch.is_grad_enabled():
        weights = first.weight, first.bias, second.weight, second.bias
        return FeedForward.apply(x, activation, *weights)
    hidden = multiply(x.contiguous(), first.weight, first.bias, activation)
    return multiply(hidden, second.weight, second.bias)


def multiply_sum(x: Tensor, y: Tensor, *linears: nn.Linear) -> tuple[Tensor, ...]:
    """What linear layers make of x + y: x (N, S, C), y (S, C) -> (N, S, K) of each layer."""
    if is_possible(x) and _are_bare(*linears):
        weights = [part for linear in linears for part in (linear.weight, linear.bias)]
        return SumProducts.apply(x, y, *weights)
    total = x + y
    return tuple(linear(total) for linear in linears)


def is_possible(x: Tensor) -> bool:
    """Whether oneDNN can be asked for products of this tensor, and should."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    plain = x.dtype == torch.float32 and x.device.type == "cpu"
    return plain and is_available() and not torch.is_autocast_enabled("cpu")


def _are_bare(*linears: nn.Linear) -> bool:
    """Whether nothing but their weights says what these layers do: no adapter, no hook."""
    return all(
        type(linear) is nn.Linear and not linear._forward_pre_hooks and not linear._forward_hooks
        for linear in linears
    )


def is_available() -> bool:
    """Whether this PyTorch has it."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def multiply_add(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What a linear layer does: x (..., C), weight (K, C), bias (K,) or none -> (..., K)."""
    if is_possible(x):
        return Product.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def _linear(linear: nn.Linear, x: Tensor) -> Tensor:
    return multiply_add(x, linear.weight, linear.bias)


class Product(torch.autograd.Function):
    """x (..., C), weight (K, C), bias (K,) or none -> (..., K)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        return own(multiply(x, weight, bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore[bad-override]
        x, weight = ctx.saved_tensors
        grad, (by_x, by_weight, by_bias) = grad_outputs[0].contiguous(), ctx.needs_input_grad
        return (
            multiply(grad, weight.t()) if by_x else None,
            multiply_rows(grad, x) if by_weight else None,
            _sum_rows(grad) if by_bias else None,
        )


class SumProducts(torch.autograd.Function):
    """Several products of one sum, which is added up again for the gradients, and not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        weights, biases = parts[::2], parts[1::2]
        ctx.save_for_backward(x, y, *weights)
        total = x + y
        return tuple(own(multiply(total, *pair)) for pair in zip(weights, biases, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore[bad-override]
        x, y, *weights = ctx.saved_tensors
        _, by_y, *by_parts = ctx.needs_input_grad
        total, by_x = x + y, torch.zeros_like(x)
        learnt: list[Tensor | None] = []
        for place, (grad, weight) in enumerate(zip(grad_outputs, weights, strict=True)):
            rows = grad.contiguous()
            by_x += multiply(rows, weight.t())
            by_weight, by_bias = by_parts[2 * place : 2 * place + 2]
            learnt.append(multiply_rows(rows, total) if by_weight else None)
            learnt.append(_sum_rows(rows) if by_bias else None)
        return by_x, by_x.sum(0) if by_y else None, *learnt


class FeedForward(torch.autograd.Function):
    """Product, activation, product: the gradient between them is changed where it lies."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        activation: Activation,
        weight1: Tensor,
        bias1: Tensor | None,
        weight2: Tensor,
        bias2: Tensor | None,
    ) -> Tensor:
        x = x.contiguous()
        before = multiply(x, weight1, bias1)
        hidden = activation.overwrite(before)
        ctx.activation = activation
        ctx.save_for_backward(x, weight1, before, hidden, weight2)
        return own(multiply(hidden, weight2, bias2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore[bad-override]
        x, weight1, before, hidden, weight2 = ctx.saved_tensors
        grad, by = grad_outputs[0].contiguous(), ctx.needs_input_grad
        through = multiply(grad, weight2.t())
        ctx.activation.backward(through, before, grad_input=through)
        return (
            multiply(through, weight1.t()) if by[0] else None,
            None,
            multiply_rows(through, x) if by[2] else None,
            _sum_rows(through) if by[3] else None,
            multiply_rows(grad, hidden) if by[4] else None,
            _sum_rows(grad) if by[5] else None,
        )


def own(view: Tensor) -> Tensor:
    """A fresh result as a tensor of its own: a view of one could not be changed in place."""
    place = view.storage_offset(), view.shape, view.stride()
    return view.new_empty(0).set_(view.untyped_storage(), *place)


def as_maps(pixels: Tensor) -> Tensor:
    """Fresh pixels (N, H, W, C) as maps (N, C, H, W), channels last."""
    return own(pixels.permute(0, 3, 1, 2))


def multiply(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, then: Activation | None = None
) -> Tensor:
    """x (..., C) times a weight (K, C), plus a bias (K,), and then the activation: (..., K)."""
    name, algorithm = ("none", "") if then is None else (then.name, then.algorithm)
    weight = weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], algorithm)


def multiply_rows(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of a weight; here PyTorch's BLAS is as quick, and needs no copies."""
    return grad.reshape(-1, grad.shape[-1]).t() @ x.reshape(-1, x.shape[-1])


def _sum_rows(grad: Tensor) -> Tensor:
    return grad.reshape(-1, grad.shape[-1]).sum(0)
