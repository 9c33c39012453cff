"""Sine embeddings of the place of pixels in a picture and in a clip (video paper: 2112.10764)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

TEMPERATURE = 10000.0
Position = Callable[[int, int, int, int, int, torch.device], Tensor]
"""(T, H, W, stride, dim, device) -> (T, dim, H, W): how a decoder is told where its tokens are."""
SHORTEST_WAVE, LONGEST_WAVE = 32.0, 160.0  # pixels: shorter than a crop that trains a network


def sine_position_2d(
    height: int, width: int, dim: int, device: torch.device | None = None
) -> Tensor:
    """The place of every pixel, (dim, H, W) float32: the first half tells y, the second x."""
    assert dim % 4 == 0, "each axis needs pairs of sine and cosine"
    y = _sine_position_1d(height, dim // 2, device)[:, :, None].expand(-1, -1, width)
    x = _sine_position_1d(width, dim // 2, device)[:, None, :].expand(-1, height, -1)
    return torch.cat((y, x))


def sine_position_3d(
    frames: int, height: int, width: int, dim: int, device: torch.device | None = None
) -> Tensor:
    """The place of every pixel of a clip, (T, dim, H, W) float32: the 2-D place plus the time."""
    time = _sine_position_1d(frames, dim, device).T[:, :, None, None]
    return sine_position_2d(height, width, dim, device) + time


def _sine_position_1d(count: int, dim: int, device: torch.device | None) -> Tensor:
    """Waves over the positions 1..count scaled to one turn, (dim, count): sine, cosine, sine, ...

    Always float32: neighbouring positions of a large map are equal in half precision.
    """
    position = torch.arange(1, count + 1, dtype=torch.float32, device=device)
    return _waves(position / (position[-1] + 1e-6) * (2 * math.pi), dim)


def _waves(angle: Tensor, dim: int) -> Tensor:
    """Sines and cosines, in turn, of an angle and its ever smaller fractions: (dim, count)."""
    pair = torch.arange(dim // 2, dtype=torch.float32, device=angle.device)
    angle = angle / TEMPERATURE ** (2 * pair / dim)[:, None]
    return torch.stack((angle.sin(), angle.cos()), dim=1).flatten(0, 1)


def picture_position(
    frames: int, height: int, width: int, stride: int, dim: int, device: torch.device
) -> Tensor:
    """The same 2-D place in every frame, (T, dim, H, W): the paper's, for pictures."""
    return sine_position_2d(height, width, dim, device).expand(frames, -1, -1, -1)


def clip_position(
    frames: int, height: int, width: int, stride: int, dim: int, device: torch.device
) -> Tensor:
    """Place and time, (T, dim, H, W): the video paper's."""
    return sine_position_3d(frames, height, width, dim, device)


def pixel_position(
    frames: int, height: int, width: int, stride: int, dim: int, device: torch.device
) -> Tensor:
    """The 2-D place in the picture's own pixels, (T, dim, H, W), whatever the picture's size.

    The paper's waves span the picture, so that a crop and a whole picture are told apart by scale.
    These have fixed lengths: a network that was trained on crops reads large pictures alike.
    """
    y, x = (_waves_of_pixels(count, stride, dim // 2, device) for count in (height, width))
    place = torch.cat((y[:, :, None].expand(-1, -1, width), x[:, None].expand(-1, height, -1)))
    return place.expand(frames, -1, -1, -1)


def centres(count: int, stride: int, device: torch.device) -> Tensor:
    """The centres of a row of cells, in pixels."""
    return (torch.arange(count, dtype=torch.float32, device=device) + 0.5) * stride


def pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """The centres of a map's pixels, row by row: (H * W, 2), x, y in 0..1."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).flatten(
        0, 1
    )


def _waves_of_pixels(count: int, stride: int, dim: int, device: torch.device) -> Tensor:
    """Sines and cosines of `dim` / 2 wave lengths over a row of cells, (dim, count)."""
    steps = torch.linspace(0, 1, dim // 2, device=device)
    length = SHORTEST_WAVE * (LONGEST_WAVE / SHORTEST_WAVE) ** steps
    angle = centres(count, stride, device) * (2 * math.pi / length)[:, None]
    return torch.cat((angle.sin(), angle.cos()))
