"""Convolutions in fp32 on CPUs: as products, by Winograd or PyTorch's, whichever is quickest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mask2former.model.kernels.onednn import as_maps, is_possible, multiply, multiply_rows

try:
    from mask2former.model.kernels import winograd
except ImportError:  # numba is an optional extra
    winograd: Any = None


def quicken_convolutions(network: nn.Module) -> None:
    """Let the convolutions of a network take the quickest way, where there is a choice.

    The network stays the same function (to rounding), learns as before, and has the same names.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module._conv_forward = Quick(module)  # pyrefly: ignore[bad-assignment]


def _is_plain(convolution: nn.Conv2d) -> bool:
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


def convolve_scaled(convolution: nn.Conv2d, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The convolution with its weight times `scale`, and with `shift` for a bias."""
    assert not scale.requires_grad, "a scale gets no gradient"
    if isinstance(quick := convolution._conv_forward, Quick) and quick.is_possible(x):
        return quick(x, convolution.weight, shift, scale)
    weight = convolution.weight * scale[:, None, None, None]
    return convolution._conv_forward(x, weight, shift)


class Way(Protocol):
    """How to convolve x (N, C, H, W) with a weight (K, C, h, w), and what those who learn get."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """-> (N, K, H', W')."""
        ...

    def by_input(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The gradient of x."""
        ...

    def by_weight(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The gradient of the weight."""
        ...


@dataclass(frozen=True)
class Quick:
    """In place of a convolution's own `_conv_forward`."""

    convolution: nn.Conv2d

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None = None
    ) -> Tensor:
        if not self.is_possible(x):
            assert scale is None, "see convolve_scaled"
            return nn.Conv2d._conv_forward(self.convolution, x, weight, bias)
        return Convolution.apply(x, weight, bias, scale, self.choose(x))

    def is_possible(self, x: Tensor) -> bool:
        """Whether there is a choice for this input."""
        return x.ndim == 4 and is_possible(x)

    def choose(self, x: Tensor) -> Way:
        """The quickest way for maps of this size."""
        asked = self.convolution
        if asked.kernel_size == (1, 1) and asked.padding == (0, 0) and asked.groups == 1:
            return Pointwise(*asked.stride)
        if winograd is not None and winograd.pays(asked, x):
            return Winograd()
        assert not isinstance(asked.padding, str)
        return Direct(asked.stride, asked.padding, asked.dilation, asked.groups)


class Convolution(torch.autograd.Function):
    """A way with its gradients. A scaled weight is made again for these, and not kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None, way: Way
    ) -> Tensor:
        ctx.way = way
        ctx.save_for_backward(x, weight, scale)
        return way.forward(x, _times(weight, scale), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyrefly: ignore[bad-override]
        (grad,), (x, weight, scale) = grad_outputs, ctx.saved_tensors
        wanted, scaled = ctx.needs_input_grad, _times(weight, scale)
        return (
            ctx.way.by_input(grad, x, scaled) if wanted[0] else None,
            _times(ctx.way.by_weight(grad, x, scaled), scale) if wanted[1] else None,
            grad.sum((0, 2, 3)) if wanted[2] else None,
            None,
            None,
        )


def _times(weight: Tensor, scale: Tensor | None) -> Tensor:
    return weight if scale is None else weight * scale[:, None, None, None]


class Direct(NamedTuple):
    """PyTorch's own."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # and so is the result
        return torch.conv2d(x, weight, bias, *self)

    def by_input(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return self.backward(grad, x, weight, (True, False, False))[0]

    def by_weight(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return self.backward(grad, x, weight, (False, True, False))[1]

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x, weight and bias that are wanted."""
        geometry = (self.stride, self.padding, self.dilation, False, (0, 0), self.groups)
        return torch.ops.aten.convolution_backward(grad, x, weight, None, *geometry, wanted)


class Pointwise(NamedTuple):
    """1 x 1: a product for each pixel."""

    down: int
    across: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return as_maps(multiply(self.pixels(x), weight.flatten(1), bias))

    def by_input(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        rows = grad.permute(0, 2, 3, 1).contiguous()
        found = as_maps(multiply(rows, weight.flatten(1).t()))
        if self == (1, 1):
            return found
        spread = torch.zeros_like(x, memory_format=torch.channels_last)
        spread[..., :: self.down, :: self.across] = found
        return spread

    def by_weight(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        rows = grad.permute(0, 2, 3, 1).contiguous()
        found = multiply_rows(rows, self.pixels(x))
        return found.as_strided(weight.shape, weight.stride())  # the same memory in either layout

    def pixels(self, x: Tensor) -> Tensor:
        """Those of x that are read: (N, H', W', C)."""
        return x[..., :: self.down, :: self.across].permute(0, 2, 3, 1).contiguous()


class Winograd(NamedTuple):
    """3 x 3, with a quarter of the products; the gradient of the weight is PyTorch's."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return as_maps(winograd.convolve(x, weight, bias))

    def by_input(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        turned = weight.flip(2, 3).transpose(0, 1)
        return as_maps(winograd.convolve(grad, turned, None))

    def by_weight(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return Direct((1, 1), (1, 1), (1, 1), 1).by_weight(grad, x, weight)
