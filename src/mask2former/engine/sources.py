"""Every form in which a picture or a clip may be given."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image
from torch import Tensor

from mask2former.files import as_rgb
from mask2former.frames import read_clip, stack_frames
from mask2former.rasters import order_channels, reader

Source = str | Path | bytes | IO[bytes] | Image.Image | np.ndarray | Tensor
ClipSource = str | Path | np.ndarray | Tensor | Iterable[Source]


def read_source(source: Source, channels: int | None = None) -> tuple[np.ndarray, str]:
    """A picture in any accepted form as (H, W, C), and its name: 8-bit RGB, or its own channels.

    Grey arrays (H, W) of 8 or 16 bits are read as files of them are. Four channels may be anything.
    """
    source = _opened(source, channels)
    match source:
        case str() | Path():
            return reader(channels)(source), str(source)
        case Image.Image() if channels is None:
            name = getattr(source, "filename", "") or "picture"
            return as_rgb(source, name), name
        case Image.Image():
            array = np.asarray(source)
        case Tensor():
            array = source.detach().cpu().permute(1, 2, 0).numpy() if source.ndim == 3 else None
        case _:
            array = source
    if isinstance(array, np.ndarray) and channels is not None:
        return order_channels(array, channels, "the picture"), "picture"
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.shape[2] != 3:
        found = f", not {array.shape}" if isinstance(array, np.ndarray) else ""
        raise ValueError(
            "a picture is a path, a file's bytes, a PIL image, an array (H, W, 3) or (H, W), or a "
            f"tensor (3, H, W){found}"
        )
    if 0 in array.shape:
        raise ValueError(f"the picture has no pixel: its size is {array.shape[:2]}")
    if array.dtype != np.uint8:
        array = _as_bytes(array)
    return np.ascontiguousarray(array), "picture"


def read_frames(source: ClipSource, channels: int | None = None) -> tuple[np.ndarray, str]:
    """A clip in any accepted form as (T, H, W, C), and its name."""
    if isinstance(source, str | Path):
        return stack_frames(read_clip(source, reader(channels)), str(source)), str(source)
    if getattr(source, "ndim", 4) != 4 or not isinstance(source, Iterable):
        raise ValueError(
            "a clip is a folder of frames, a video file, a sequence of pictures, an array "
            "(T, H, W, 3) or a tensor (T, 3, H, W)"
        )
    pictures = (read_source(cast("Source", picture), channels) for picture in source)
    return stack_frames((image for image, _ in pictures), "the clip"), "clip"


def _opened(source: Any, channels: int | None) -> Any:
    """What Pillow can open, as a picture of Pillow's; all else as it is."""
    if isinstance(source, bytes) or (hasattr(source, "read") and hasattr(source, "seek")):
        try:
            return Image.open(BytesIO(source) if isinstance(source, bytes) else source)
        except OSError as error:
            raise ValueError("the bytes are no picture that can be read") from error
    if channels is None and isinstance(source, np.ndarray) and _is_grey(source):
        return Image.fromarray(source)
    return source


def _is_grey(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.size > 0 and array.dtype in (np.uint8, np.uint16)


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """Other numbers than bytes, if they too count from 0 to 255."""
    if array.dtype.kind not in "iuf":
        raise ValueError(f"a picture's values are numbers from 0 to 255, not {array.dtype}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise ValueError("a picture's values are RGB from 0 to 255")
    if array.dtype.kind == "f" and 0 < array.max() <= 1:
        raise ValueError("a picture's values are RGB from 0 to 255; multiply these by 255")
    return array.round().astype(np.uint8)
