"""Where masks are compared: everywhere, at random points, or where the network is unsure.

A sampler takes the mask logits (M, h, w) it may look at, the size (H, W) of the truth, and a
generator; it gives points (M, P, 2) or (1, P, 2), x and y in 0..1. (Paper section 3.3, table 5.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mask2former.masks import AT_ONCE, sample

Sampler = Callable[[Tensor, tuple[int, int], Generator | None], Tensor]


@dataclass(frozen=True)
class AllPixels:
    """The centre of every pixel of the truth: the full-mask loss of MaskFormer."""

    def __call__(
        self, logits: Tensor, size: tuple[int, int], generator: Generator | None
    ) -> Tensor:
        """One shared set of points (1, H * W, 2)."""
        height, width = size
        y = (torch.arange(height, device=logits.device) + 0.5) / height
        x = (torch.arange(width, device=logits.device) + 0.5) / width
        grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        return grid.flatten(0, 1)[None]


@dataclass(frozen=True)
class RandomPoints:
    """Uniform points, anew for each mask (Implicit PointRend)."""

    count: int = 12544

    def __call__(
        self, logits: Tensor, size: tuple[int, int], generator: Generator | None
    ) -> Tensor:
        """Points (M, count, 2)."""
        return uniform(logits, self.count, generator)


@dataclass(frozen=True)
class UncertainPoints:
    """Mostly the points with the smallest |logit| of a larger uniform draw (PointRend)."""

    count: int = 12544
    oversample: float = 3.0
    importance: float = 0.75

    def __call__(
        self, logits: Tensor, size: tuple[int, int], generator: Generator | None
    ) -> Tensor:
        """Points (M, count, 2): the uncertain ones first."""
        uncertain = int(self.importance * self.count)
        kept = [self.choose(part, uncertain, generator) for part in logits.split(AT_ONCE)]
        rest = uniform(logits, self.count - uncertain, generator)
        return torch.cat([torch.cat(kept), rest], dim=1)

    def choose(self, logits: Tensor, count: int, generator: Generator | None) -> Tensor:
        """The least certain points (M, count, 2) of a larger draw."""
        drawn = uniform(logits, int(self.oversample * self.count), generator)
        certainty = sample(logits.unsqueeze(1), drawn).squeeze(1).abs()
        chosen = certainty.topk(count, dim=1, largest=False, sorted=False).indices
        return drawn.gather(1, chosen[..., None].expand(-1, -1, 2))


def uniform(like: Tensor, count: int, generator: Generator | None) -> Tensor:
    """(M, count, 2) uniform points for M masks, on their device, in fp32."""
    return torch.rand(like.shape[0], count, 2, device=like.device, generator=generator)
