"""Semantic FPN as a pixel decoder (Kirillov et al., Panoptic FPN, CVPR 2019): table 4e."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mask2former.model.fpn import FeaturePyramid, conv_norm, initialise


class SemanticFPNPixelDecoder(FeaturePyramid):
    """Masks are read off the sum of all maps of the pyramid, brought to the finest size.

    Each map goes through stages of convolution, norm, ReLU and bilinear upsampling by two, one for
    each halving between it and the finest, which has a stage without upsampling (their figure 3).
    The transformer decoder reads the pyramid.
    """

    def __init__(
        self,
        channels: dict[int, int],
        dim: int = 256,
        mask_dim: int = 256,
        *,
        summed: int = 128,
    ) -> None:
        """`channels` are the backbone's, by stride; `summed` is how many the sum has."""
        super().__init__(channels, dim)
        finest = min(channels)
        self.climb = nn.ModuleDict(
            {
                str(stride): _stages(dim, summed, doublings=int(math.log2(stride // finest)))
                for stride in sorted(channels, reverse=True)
            }
        )
        self.mask_features = nn.Conv2d(summed, mask_dim, 1)
        self.apply(initialise)

    def forward(self, features: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """Maps (N, c, H/s, W/s) by stride s -> mask features (N, C, H/4, W/4) and the pyramid.

        The pyramid holds (N, dim, H/s, W/s) by stride, coarse to fine, without the finest.
        """
        pyramid = self.descend(features)
        climbed = [self.climb[str(stride)](maps) for stride, maps in pyramid.items()]
        pyramid.pop(self.finer[-1])
        return self.mask_features(torch.stack(climbed).sum(0)), pyramid


def _stages(dim: int, summed: int, *, doublings: int) -> nn.Sequential:
    stages = nn.Sequential()
    for stage in range(max(doublings, 1)):
        stages.append(conv_norm(summed if stage else dim, summed, kernel=3)).append(nn.ReLU())
        if doublings:
            stages.append(nn.Upsample(scale_factor=2, mode="bilinear"))
    return stages
