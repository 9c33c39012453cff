"""Pictures of masked attention: where a query may look and where it looks, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from mask2former.captions import BACKGROUND, TEXT, font_for, shorten
from mask2former.rasters import as_picture

CELL = 240
"""The longest side of a picture in the sheet, in pixels."""
HEAT = colormaps["inferno"]


def draw_query(
    image: np.ndarray,
    title: str,
    mask: np.ndarray,
    allowed: Sequence[np.ndarray],
    attention: Sequence[np.ndarray],
    captions: Sequence[str],
) -> Image.Image:
    """A sheet: the final mask, then a column for each layer, allowed above attention.

    `image` (H, W, C), `mask` (h, w) logits, `allowed` and `attention` a map each layer.
    """
    picture = Image.fromarray(as_picture(image, 1))
    scale = CELL / max(picture.size)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    small = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).astype(np.float32)
    first = [_dim(small, _fit(mask, size) > 0), small.astype(np.uint8)]
    columns = [(title, first)]
    for may, weights, caption in zip(allowed, attention, captions, strict=True):
        open_to = _fit(may.astype(np.float32), size, Image.Resampling.NEAREST) > 0.5
        columns.append((caption, [_dim(small, open_to), _warm(small, _fit(weights, size))]))
    return _lay_out(columns, size)


def _fit(
    values: np.ndarray, size: tuple[int, int], how: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, how))


def _dim(picture: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Only what is kept stays bright."""
    grey = picture.mean(-1, keepdims=True) * 0.25
    return np.where(keep[..., None], picture, grey).astype(np.uint8)


def _warm(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Attention as heat over a grey picture; the hottest tenth of a percent is full."""
    full = max(float(np.quantile(weights, 0.999)), 1e-12)
    heat = np.clip(weights / full, 0, 1)
    grey = picture.mean(-1, keepdims=True) * 0.35
    return (grey + HEAT(heat)[..., :3] * 255 * 0.65).clip(0, 255).astype(np.uint8)


def _lay_out(
    columns: Sequence[tuple[str, Sequence[np.ndarray]]], size: tuple[int, int]
) -> Image.Image:
    font = font_for((640, 640))
    bar, gap = round(1.8 * font.size), 6
    rows = len(columns[0][1])
    width = len(columns) * (size[0] + gap) + gap
    sheet = Image.new("RGB", (width, bar + rows * (size[1] + gap)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, (caption, cells) in enumerate(columns):
        left = gap + place * (size[0] + gap)
        text = shorten(caption, font, size[0])
        draw.text((left, bar / 2), text, TEXT, font, anchor="lm")
        for row, cell in enumerate(cells):
            sheet.paste(Image.fromarray(cell), (left, bar + row * (size[1] + gap)))
    return sheet
