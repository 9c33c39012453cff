"""Sampling a feature pyramid at a few learned points per query (Deformable DETR, section 4.1).

One function, `sample_pyramid`, hides the choice of kernel: a compiled CPU kernel where numba is
installed, `grid_sample` everywhere else. Both are the same function of the same arguments, and so
are those of `sampled_rows`, for exported graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mask2former.model.kernels.onednn import multiply_sum

try:
    from mask2former.model.kernels import sampling_kernel
except ImportError:  # numba is an optional extra
    sampling_kernel = None

Shapes = Sequence[tuple[int, int]]
Sample = Callable[[Tensor, Shapes, Tensor, Tensor, Tensor], Tensor]
"""`sample_pyramid`, or the same function by other means."""


def sample_pyramid(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """Sum bilinear samples of a flattened feature pyramid, weighted by a softmax.

    value (N, S, heads, C) holds the levels one after another, S = sum of H * W over `shapes`.
    Query q looks around reference (Q, 2), x, y in 0..1, a constant: it gets no gradient. Offsets
    from there (N, Q, heads, levels, points, 2) are in pixels of each level; logits (N, Q, heads,
    levels, points). Reads zero outside a level. Returns (N, Q, heads * C).
    """
    compiled = sampling_kernel is not None and value.device.type == "cpu"
    if compiled and not torch.compiler.is_compiling():
        return sampling_kernel.sample_pyramid(value, shapes, reference, offsets, logits)
    return sample_pyramid_with_grid(value, shapes, reference, offsets, logits)


def sample_pyramid_with_grid(
    value: Tensor, shapes: Shapes, reference: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """`sample_pyramid` for any device, by `grid_sample`, level by level."""
    batch, _, heads, channels = value.shape
    queries = offsets.shape[1]
    locations = reference[:, None, None, None] + offsets * pixel_sizes(shapes, offsets)[:, None]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # N*heads, Q, levels, points, 2
    levels = value.split([height * width for height, width in shapes], dim=1)
    samples = []
    for level, (height, width) in enumerate(shapes):
        plane = levels[level].permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        samples.append(F.grid_sample(plane, grids[:, :, level], align_corners=False))
    weights = logits.flatten(3).softmax(-1).transpose(1, 2).flatten(0, 1)[:, None]
    summed = (torch.cat(samples, dim=-1) * weights).sum(-1)  # N*heads, C, Q
    return summed.view(batch, heads * channels, queries).transpose(1, 2)


def pixel_sizes(shapes: Shapes, like: Tensor) -> Tensor:
    """Width and height of a pixel of each level where the picture is 1 x 1: (levels, 2).

    Filled in on the device: the device would have to be waited for to copy a list to it.
    """
    sides = [like.new_full((1,), 1 / side) for height, width in shapes for side in (width, height)]
    return torch.cat(sides).unflatten(0, (-1, 2))


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention with its four linear layers."""

    def __init__(self, dim: int = 256, *, heads: int = 8, levels: int = 3, points: int = 4) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} cannot be divided among {heads} heads")
        self.layout = (heads, levels, points)
        self.sample: Sample = sample_pyramid
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.init_weights()

    def init_weights(self) -> None:
        """Head h starts looking in direction 2 pi h / heads, point p at p + 1 pixels."""
        heads, levels, points = self.layout
        angle = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        reach = torch.arange(1, points + 1, dtype=torch.float32)
        offsets = direction[:, None, None] * reach[:, None]
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(heads, levels, points, 2).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, tokens: Tensor, position: Tensor, reference: Tensor, shapes: Shapes
    ) -> Tensor:
        """tokens (N, S, dim) at position (S, dim) read one another around reference (S, 2)."""
        offsets, logits = multiply_sum(
            tokens, position, self.sampling_offsets, self.attention_weights
        )
        offsets = offsets.unflatten(-1, (*self.layout, 2))
        logits = logits.unflatten(-1, self.layout)
        value = self.value_proj(tokens).unflatten(-1, (self.layout[0], -1))
        return self.output_proj(self.sample(value, shapes, reference, offsets, logits))
