"""Masks without the mask features' last convolution, for graphs that run elsewhere.

A mask is a product of an embedding e with W x + b, where x is the pixel decoder's last map; and
e . (W x + b) = (W^T e) . x + e . b. So W goes into the layer that makes a hundred embeddings
instead of being multiplied with every pixel, and b too: x gets a channel of ones for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mask2former.model.mask2former import Mask2Former
from mask2former.model.placed_masks import PlacedMaskHead, PlacedMasks
from mask2former.model.transformer_decoder import MaskHead
from mask2former.model.vit import PyramidFirst


@torch.no_grad()
def shorten_masks(network: Mask2Former) -> bool:
    """Let embeddings be made for the map before the mask features; returns whether that pays.

    The logits of masks stay what they were (to rounding); their two factors do not.
    """
    pixel_decoder, head = network.pixel_decoder, network.transformer_decoder.mask_head
    if isinstance(pixel_decoder, PlacedMasks) and isinstance(head, PlacedMaskHead):
        pixel_decoder, head = pixel_decoder.pixel_decoder, head.head
    if isinstance(pixel_decoder, PyramidFirst):
        pixel_decoder = pixel_decoder.pixel_decoder
    convolution = getattr(pixel_decoder, "mask_features", None)
    if not isinstance(convolution, nn.Conv2d) or not isinstance(head, MaskHead):
        return False
    outputs, inputs, *kernel = convolution.weight.shape
    if kernel != [1, 1] or inputs > outputs:
        return False
    matrix = convolution.weight.flatten(1)  # (outputs, inputs)
    if convolution.bias is not None:
        matrix = torch.cat([matrix, convolution.bias[:, None]], 1)
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    rows = torch.cat([last.weight, last.bias[:, None]], 1).double()
    look, others = rows[:outputs], rows[outputs:]  # of placed masks, some say where
    rows = torch.cat([matrix.double().T @ look, others]).to(matrix.dtype)
    short = nn.Linear(last.in_features, rows.shape[0])
    short.weight.copy_(rows[:, :-1])
    short.bias.copy_(rows[:, -1])
    head.layers[-1] = short
    pixel_decoder.mask_features = nn.Identity() if convolution.bias is None else WithOnes()
    return True


class WithOnes(nn.Module):
    """One more channel, of ones."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + 1, H, W)."""
        return torch.cat([x, torch.ones_like(x[:, :1])], 1)
