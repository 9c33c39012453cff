"""Plain vision transformers: one map at stride 16, and the four that a pixel decoder reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 16


@dataclass(frozen=True)
class PlainMap:
    """How a plain vision transformer of timm's is read: its last map, at stride 16.

    A transformer of other patches than 16 x 16 sees the picture resized by patch / 16, so that its
    patches are those of 16 x 16 pixels of the picture.
    """

    patch: int

    def __call__(self, vit: Any, images: Tensor) -> dict[int, Tensor]:
        """Images (N, 3, H, W) -> {16: (N, C, H/16, W/16)}, after the transformer's last norm."""
        if self.patch != STRIDE:
            size = [side // STRIDE * self.patch for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode="bicubic")
        (last,) = vit.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
        return {STRIDE: last}


class SimpleFeaturePyramid(nn.Module):
    """Maps at strides 4, 8, 16 and 32 of a map at 16 alone (Li et al., ECCV 2022, section 3).

    The 1 x 1 and 3 x 3 convolutions that ViTDet has behind each map are left to the pixel decoder,
    which begins with convolutions of its own.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.channels = {4: quarter, 8: half, STRIDE: channels, 32: channels}
        self.to_4 = nn.Sequential(
            nn.ConvTranspose2d(channels, half, 2, stride=2),
            ChannelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
        self.to_8 = nn.ConvTranspose2d(channels, half, 2, stride=2)
        self.to_32 = nn.MaxPool2d(2)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """{16: (N, C, H/16, W/16)} -> stride s -> (N, c, H/s, W/s)."""
        x = features[STRIDE]
        return {4: self.to_4(x), 8: self.to_8(x), STRIDE: x, 32: self.to_32(x)}


class PyramidFirst(nn.Module):
    """A pixel decoder behind a pyramid: the fresh layers of both learn at full rate."""

    def __init__(self, pyramid: SimpleFeaturePyramid, pixel_decoder: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.pixel_decoder = pixel_decoder

    def forward(self, features: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """As the pixel decoder inside, of a map at stride 16 alone."""
        return self.pixel_decoder(self.pyramid(features))


class ChannelNorm(nn.Module):
    """Layer norm over the channels at every place of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
