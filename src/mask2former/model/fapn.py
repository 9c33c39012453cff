"""The feature-aligned pyramid as a pixel decoder (Huang et al., FaPN, ICCV 2021): table 4e."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from mask2former.model.fpn import conv_norm, initialise

KERNEL = 3


class FaPNPixelDecoder(nn.Module):
    """An FPN that selects what goes in at each stride, and aligns what comes from above with it."""

    def __init__(
        self, channels: dict[int, int], dim: int = 256, mask_dim: int = 256, *, groups: int = 8
    ) -> None:
        """`channels` are the backbone's, by stride; `groups` of channels move together."""
        super().__init__()
        self.coarsest, *self.finer = sorted(channels, reverse=True)
        self.top = conv_norm(channels[self.coarsest], dim, kernel=1)
        self.select = nn.ModuleDict(
            {str(stride): FeatureSelection(channels[stride], dim) for stride in self.finer}
        )
        self.align = nn.ModuleDict(
            {str(stride): FeatureAlignment(dim, groups) for stride in self.finer}
        )
        self.smooth = nn.ModuleDict(
            {
                str(stride): conv_norm(dim, dim, kernel=3).append(nn.ReLU())
                for stride in (self.coarsest, *self.finer)
            }
        )
        self.mask_features = nn.Conv2d(dim, mask_dim, 3, padding=1)
        for part in (self.top, self.select, self.smooth, self.mask_features):
            part.apply(initialise)

    def forward(self, features: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """Maps (N, c, H/s, W/s) by stride s -> mask features (N, C, H/4, W/4) and the pyramid.

        The pyramid holds (N, dim, H/s, W/s) by stride, coarse to fine, without the finest.
        """
        x = self.top(features[self.coarsest])
        pyramid = {self.coarsest: self.smooth[str(self.coarsest)](x)}
        for stride in self.finer:
            selected = self.select[str(stride)](features[stride])
            above = F.interpolate(x, size=selected.shape[-2:], mode="bilinear")
            x = selected + self.align[str(stride)](above, selected)
            pyramid[stride] = self.smooth[str(stride)](x)
        finest = pyramid.pop(self.finer[-1])
        return self.mask_features(finest), pyramid


class FeatureSelection(nn.Module):
    """Channels that matter in the whole picture are amplified, then all are narrowed (3.3)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.importance = nn.Conv2d(channels, channels, 1)
        self.narrow = conv_norm(channels, dim, kernel=1)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, c, H, W) -> (N, dim, H, W)."""
        importance = self.importance(maps.mean((-2, -1), keepdim=True)).sigmoid()
        return self.narrow(maps + maps * importance)


class FeatureAlignment(nn.Module):
    """What comes from above is read where both maps say that it belongs (3.2).

    A deformable convolution (Dai et al., ICCV 2017); zero offsets make it a plain one.
    """

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.compare = nn.Conv2d(2 * dim, dim, 1, bias=False)
        self.offsets = nn.Conv2d(dim, 2 * KERNEL**2 * groups, KERNEL, padding=KERNEL // 2)
        self.convolution = nn.Conv2d(dim, dim, KERNEL, padding=KERNEL // 2)
        self.apply(initialise)
        nn.init.zeros_(self.offsets.weight)  # it begins as a plain one

    def forward(self, above: Tensor, selected: Tensor) -> Tensor:
        """Both (N, dim, H, W) -> (N, dim, H, W)."""
        offsets = self.offsets(self.compare(torch.cat([selected, above], 1)))
        weight, bias = self.convolution.weight, self.convolution.bias
        with torch.autocast(above.device.type, enabled=False):  # rounded places are others
            around = (KERNEL // 2, KERNEL // 2)
            aligned = deform_conv2d(above.float(), offsets.float(), weight, bias, padding=around)
        return F.relu(aligned)
