"""Mask2Former: backbone -> pixel decoder -> transformer decoder (paper, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mask2former.structures import PixelFeatures, Prediction


class Mask2Former(nn.Module):
    """The network: pictures or clips in, one set of (class, mask) pairs per decoder layer out.

    `mean` and `std` are per input channel, in the units of the picture (0..255).
    """

    def __init__(
        self,
        backbone: nn.Module,
        pixel_decoder: nn.Module,
        transformer_decoder: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.transformer_decoder = transformer_decoder
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Prediction]:
        """images (B, 3, H, W) or clips (B, T, 3, H, W), RGB 0..255, H and W multiples of 32.

        The last prediction is the result; the earlier ones are supervised in training.
        """
        return self.transformer_decoder(self.look(images))

    def look(self, images: Tensor) -> PixelFeatures:
        """What backbone and pixel decoder say of every pixel of `images`, as of `forward`."""
        clips = images if images.ndim == 5 else images.unsqueeze(1)
        frames = (clips.flatten(0, 1) - self.mean) / self.std
        mask_features, pyramid = self.pixel_decoder(self.backbone(frames))
        batch = clips.shape[:2]
        return PixelFeatures(
            mask_features.unflatten(0, batch),
            {stride: maps.unflatten(0, batch) for stride, maps in pyramid.items()},
        )
