"""Pictures of any number of channels and any depth, as their files have them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mask2former.files import LARGEST, opened, read_image

Reader = Callable[[str | Path], np.ndarray]
"""File -> pixels (H, W, C)."""


def reader(channels: int | None) -> Reader:
    """What reads the files: 8-bit RGB whatever they hold (None), or their own channels."""
    return read_image if channels is None else partial(read_channels, channels=channels)


def read_channels(path: str | Path, channels: int) -> np.ndarray:
    """Read a picture as it is stored: (H, W, channels) of uint8, uint16 or float32.

    A TIFF may have its channels side by side, as planes or as pages, and `.npy` may have them first
    or last. ValueError where there are others than `channels`.
    """
    match Path(path).suffix.lower():
        case ".npy":
            pixels = _read_array(path)
        case ".tif" | ".tiff":
            pixels = _read_tiff(path)
        case _:
            with opened(path) as image:
                pixels = _as_array(image)
    return order_channels(pixels, channels, path)


def order_channels(pixels: np.ndarray, channels: int, name: str | Path) -> np.ndarray:
    """Put the channels last, of numbers that training knows; ValueError where they do not fit."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.size == 0:
        raise ValueError(f"{name}: a picture has height, width and channels, not {pixels.shape}")
    if pixels.shape[2] != channels and pixels.shape[0] == channels:
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.shape[2] != channels:
        found = min(pixels.shape[0], pixels.shape[2])
        raise ValueError(f"{name}: has {_count(found)}, and {channels} are wanted (data.channels)")
    if pixels.dtype.kind not in "iuf":
        raise ValueError(f"{name}: its values are {pixels.dtype}, not numbers")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError(f"{name}: some of its values are infinite or no numbers; fill them")
    kept = pixels.dtype in (np.uint8, np.uint16)
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=") if kept else np.float32)


def as_picture(pixels: np.ndarray, factor: int = 1) -> np.ndarray:
    """Any pixels (H, W, C) as RGB, uint8, that a person can look at, reduced by a whole number.

    Colours of 8 bits stay. Of other pictures the first three channels are shown (where there are
    fewer, the first as grey), each stretched so that 1 % of its pixels are black and 1 % full.
    """
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))
    shown = pixels[::factor, ::factor, : 3 if pixels.shape[2] >= 3 else 1].astype(np.float32)
    step = max(1, max(shown.shape) // 1000)  # a part of the pixels tells the percentiles
    low, high = np.percentile(shown[::step, ::step], (1, 99), axis=(0, 1))
    shown = ((shown - low) * (255 / np.maximum(high - low, 1e-6))).clip(0, 255)
    return np.broadcast_to(shown, (*shown.shape[:2], 3)).astype(np.uint8)


def _count(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"


def _as_array(image: Image.Image) -> np.ndarray:
    """The pixels that Pillow decoded, upright."""
    image = ImageOps.exif_transpose(image)
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def _read_array(path: str | Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: the array cannot be read ({error})") from error


def _read_tiff(path: str | Path) -> np.ndarray:
    """Pillow would read many channels as 8 bits, or not at all."""
    try:
        import tifffile
    except ImportError:
        raise ValueError(
            f"{path}: TIFF files of many channels are read with tifffile; "
            "`pip install mask2former[tiff]`"
        ) from None
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if series.size > 4 * LARGEST:
                raise ValueError("its pixels are more than can be read at once")
            return series.asarray()
    except Exception as error:  # broken files make the decoder stumble over anything
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: the TIFF cannot be read ({reason})") from error
