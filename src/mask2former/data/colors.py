"""Random changes of the colours of training pictures: 8-bit RGB, (..., 3, H, W)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F


def jitter(pixels: Tensor) -> Tensor:
    """The colour jitter of SSD (Liu et al., ECCV 2016), as detectron2's ColorAugSSDTransform.

    Every step comes with probability 1/2 and is rounded down to 8 bits: brightness, then contrast,
    saturation and hue, or saturation, hue and contrast. v2's own jitter blends with grey and
    permutes channels instead.
    """
    steps = [_jitter_contrast, _jitter_saturation, _jitter_hue]
    if torch.rand(()) < 0.5:
        steps = [_jitter_saturation, _jitter_hue, _jitter_contrast]
    for step in [_jitter_brightness, *steps]:
        if torch.rand(()) < 0.5:
            pixels = step(pixels)
    return pixels


def disturb(pixels: Tensor) -> Tensor:
    """The same, and for every second picture what other cameras and other light may change too.

    Each with its own chance: gamma of every channel, grey, blur, noise, light that varies over the
    picture, and a random convolution (Xu et al., ICLR 2021) that gives other textures. For models
    that shall see what their training pictures do not show: another camera, town, stain or season.
    """
    pixels = jitter(pixels)
    if torch.rand(()) < 0.5:
        return pixels
    values = pixels / 255
    for step, chance in _DISTURBANCES:
        if torch.rand(()) < chance:
            values = step(values)
    return _as_bytes(values * 255)


def _jitter_brightness(pixels: Tensor) -> Tensor:
    return _as_bytes(pixels + _uniform(-32, 32))


def _jitter_contrast(pixels: Tensor) -> Tensor:
    return _as_bytes(pixels * _uniform(0.5, 1.5))


def _jitter_saturation(pixels: Tensor) -> Tensor:
    """Scale S of HSV: at equal hue and value every channel's distance from the largest scales."""
    value, _ = pixels.max(dim=-3, keepdim=True)
    chroma = value - pixels.min(dim=-3, keepdim=True).values
    fullest = value / chroma.clamp(min=1)  # S may not exceed 1
    factor = fullest.clamp(max=_uniform(0.5, 1.5))
    return _as_bytes(value - (value - pixels) * factor + 0.5)


def _jitter_hue(pixels: Tensor) -> Tensor:
    return F.adjust_hue(pixels, int(torch.randint(-18, 19, ())) / 180)


def _bend(values: Tensor) -> Tensor:
    """A gamma of the whole picture and a little one of each channel."""
    exponent = torch.exp(0.35 * torch.randn(()) + 0.15 * torch.randn(3, 1, 1))
    return values.clamp(1e-3, 1) ** exponent


def _bleach(values: Tensor) -> Tensor:
    return F.rgb_to_grayscale(values, num_output_channels=3)


def _blur(values: Tensor) -> Tensor:
    wider = F.pad(values, [3], padding_mode="edge")  # or a tiny picture could not be mirrored
    return F.gaussian_blur(wider, [7, 7], [_uniform(0.3, 1.8)])[..., 3:-3, 3:-3]


def _add_noise(values: Tensor) -> Tensor:
    return values + _uniform(0, 0.05) * torch.randn_like(values)


def _shade(values: Tensor) -> Tensor:
    """Light that varies smoothly over the picture, alike in all frames of a clip."""
    height, width = values.shape[-2:]
    light = F.resize(torch.randn(1, 3, 3), [height, width], antialias=True)
    return values * torch.exp(0.3 * light)


def _convolve(values: Tensor) -> Tensor:
    """Blend with the picture's random 3 x 3 convolution of the same mean and deviation."""
    frames = values.reshape(-1, *values.shape[-3:])
    kernel = torch.randn(3, 3, 3, 3) / math.sqrt(27)
    made = torch.nn.functional.conv2d(frames, kernel, padding=1).reshape(values.shape)
    spread = made.std().clamp(min=1e-6)  # one colour has none
    made = (made - made.mean()) / spread * values.std() + values.mean()
    return torch.lerp(values, made, _uniform(0, 0.6))


_DISTURBANCES = (
    (_bend, 0.5),
    (_bleach, 0.15),
    (_blur, 0.3),
    (_add_noise, 0.3),
    (_shade, 0.3),
    (_convolve, 0.3),
)


def _as_bytes(pixels: Tensor) -> Tensor:
    return pixels.clamp(0, 255).to(torch.uint8)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()
