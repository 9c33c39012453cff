"""The bidirectional feature pyramid as a pixel decoder (Tan et al., EfficientDet, CVPR 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mask2former.model.fpn import conv_norm, initialise

EPSILON = 1e-4
"""Keeps the weights' sum from zero (their section 3.3)."""


class BiFPNPixelDecoder(nn.Module):
    """Features go down and up the strides again and again, fused with learned weights (table 4e).

    Batch norms are group norms here, as batches are small.
    """

    def __init__(
        self, channels: dict[int, int], dim: int = 256, mask_dim: int = 256, *, layers: int = 3
    ) -> None:
        """`channels` says how many channels the backbone has at each stride."""
        super().__init__()
        self.strides = sorted(channels, reverse=True)
        self.lateral = nn.ModuleDict(
            {str(stride): conv_norm(channels[stride], dim, kernel=1) for stride in self.strides}
        )
        self.layers = nn.ModuleList(BiFPNLayer(self.strides, dim) for _ in range(layers))
        self.mask_features = nn.Conv2d(dim, mask_dim, 3, padding=1)
        self.apply(initialise)

    def forward(self, features: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """Maps (N, c, H/s, W/s) by stride s -> mask features (N, C, H/4, W/4) and the pyramid.

        The pyramid holds (N, dim, H/s, W/s) by stride, coarse to fine, without the finest.
        """
        maps = {stride: self.lateral[str(stride)](features[stride]) for stride in self.strides}
        for layer in self.layers:
            maps = layer(maps)
        finest = maps.pop(self.strides[-1])
        return self.mask_features(finest), maps


class BiFPNLayer(nn.Module):
    """Once down from coarse to fine, once up again (their figure 2d)."""

    def __init__(self, strides: list[int], dim: int) -> None:
        """`strides` coarse to fine. The ends have one way in less than those between."""
        super().__init__()
        self.down = nn.ModuleDict({str(stride): Fusion(2, dim) for stride in strides[1:]})
        self.up = nn.ModuleDict({str(stride): Fusion(3, dim) for stride in strides[-2:0:-1]})
        self.up[str(strides[0])] = Fusion(2, dim)

    def forward(self, maps: dict[int, Tensor]) -> dict[int, Tensor]:
        """Maps (N, dim, H/s, W/s) by stride s, coarse to fine -> the same."""
        coarsest, *finer = maps
        above = maps[coarsest]
        lowered: dict[int, Tensor] = {}
        for stride in finer:
            here = maps[stride]
            above = lowered[stride] = self.down[str(stride)](here, enlarge(above, here))
        below = above
        lifted = {finer[-1]: below}
        for stride in finer[-2::-1]:
            ways = maps[stride], lowered[stride], shrink(below)
            below = lifted[stride] = self.up[str(stride)](*ways)
        lifted[coarsest] = self.up[str(coarsest)](maps[coarsest], shrink(below))
        return {stride: lifted[stride] for stride in maps}


class Fusion(nn.Module):
    """Maps of one size, weighed and summed, then Swish and a depthwise separable convolution."""

    def __init__(self, ways: int, dim: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(ways))
        depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.convolve = nn.Sequential(nn.SiLU(), depthwise, *conv_norm(dim, dim, kernel=1))

    def forward(self, *maps: Tensor) -> Tensor:
        """As many maps (N, dim, H, W) as there are ways -> one."""
        shares = self.shares()
        weighed = [share * way for share, way in zip(shares, maps, strict=True)]
        return self.convolve(torch.stack(weighed).sum(0))

    def shares(self) -> Tensor:
        """The weights, none below zero, their sum one: fast normalised fusion."""
        positive = F.relu(self.weights)
        return positive / (positive.sum() + EPSILON)


def enlarge(maps: Tensor, like: Tensor) -> Tensor:
    """The nearest of coarse maps for each pixel of finer ones."""
    return F.interpolate(maps, size=like.shape[-2:], mode="nearest")


def shrink(maps: Tensor) -> Tensor:
    """The largest of nine neighbours, for every second pixel."""
    return F.max_pool2d(maps, 3, stride=2, padding=1)
