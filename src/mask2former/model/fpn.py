"""The feature pyramid network as a pixel decoder (paper table 4e; MaskFormer's own)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F


class FeaturePyramid(nn.Module):
    """Carry coarse meaning down to fine maps: lateral 1x1, upsample, add, smooth 3x3."""

    def __init__(self, channels: dict[int, int], dim: int) -> None:
        """`channels` says how many channels the backbone has at each stride."""
        super().__init__()
        self.coarsest, *self.finer = sorted(channels, reverse=True)
        self.lateral = nn.ModuleDict(
            {str(stride): conv_norm(channels[stride], dim, kernel=1) for stride in self.finer}
        )
        self.smooth = nn.ModuleDict(
            {str(stride): conv_norm(dim, dim, kernel=3).append(nn.ReLU()) for stride in self.finer}
        )
        # Nothing comes from above, so the coarsest map is smoothed as it is.
        top = conv_norm(channels[self.coarsest], dim, kernel=3).append(nn.ReLU())
        self.smooth[str(self.coarsest)] = top

    def descend(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """Maps (N, c, H/s, W/s) by stride s -> (N, dim, H/s, W/s), coarse to fine."""
        x = self.smooth[str(self.coarsest)](features[self.coarsest])
        pyramid = {self.coarsest: x}
        for stride in self.finer:
            lateral = self.lateral[str(stride)](features[stride])
            x = lateral + F.interpolate(x, size=lateral.shape[-2:], mode="nearest")
            x = pyramid[stride] = self.smooth[str(stride)](x)
        return pyramid


class FPNPixelDecoder(FeaturePyramid):
    """The pyramid; masks are read off its finest map."""

    def __init__(self, channels: dict[int, int], dim: int = 256, mask_dim: int = 256) -> None:
        super().__init__(channels, dim)
        self.mask_features = nn.Conv2d(dim, mask_dim, 3, padding=1)
        self.apply(initialise)

    def forward(self, features: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """Maps (N, c, H/s, W/s) by stride s -> mask features (N, C, H/4, W/4) and the pyramid.

        The pyramid holds (N, dim, H/s, W/s) by stride, coarse to fine, without the finest.
        """
        pyramid = self.descend(features)
        finest = pyramid.pop(self.finer[-1])
        return self.mask_features(finest), pyramid


def conv_norm(channels: int, dim: int, *, kernel: int) -> nn.Sequential:
    """A convolution that keeps the size, and a group norm."""
    conv = nn.Conv2d(channels, dim, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(math.gcd(32, dim), dim))


def initialise(module: nn.Module) -> None:
    """Fresh weights of a convolution, as detectron2 has them: Kaiming (a = 1), no bias."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, a=1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
