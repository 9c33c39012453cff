"""The words on a picture: names where their regions have room, and a legend below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mask2former.categories import Color

BACKGROUND = (22, 24, 29)
TEXT = (236, 238, 242)
MUTED = (158, 164, 174)
PLATE = (*BACKGROUND, 190)  # behind a name, half transparent
FEW = 24  # things that may all bear a name; of more only the large ones do
LARGE = 0.012  # share of the picture from which stuff, or one of many things, is named
ROOM = 0.5  # share of a name that has to lie on its own region
LEGEND_ROWS = 3

Font = ImageFont.FreeTypeFont


class Entry(NamedTuple):
    """One item of a legend; the colours share the swatch."""

    name: str
    amount: str
    swatch: list[Color]


def font_for(size: tuple[int, int]) -> Font:
    """The font in which a picture of a size (width, height) is labelled."""
    font = ImageFont.load_default(size=max(14, round(min(size) / 44)))
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def shorten(text: str, font: Font, width: float) -> str:
    """Cut a text to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "\u2026") > width:
        text = text[:-1]
    return text + "\u2026"


def write_names(
    picture: Image.Image, ids: np.ndarray, names: Sequence[str], is_thing: np.ndarray
) -> Image.Image:
    """Write names on or beside regions, the large first, where there is room and no other name.

    `names[i]` and `is_thing[i]` speak of the pixels of id i + 1 in `ids` (H, W).
    """
    font = font_for(picture.size)
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    step = max(1, round(font.size / 4))  # room is sought on a grid of which a line takes 6 cells
    grid = ids[step // 2 :: step, step // 2 :: step]
    areas = np.bincount(grid.ravel(), minlength=len(names) + 1)[1:]
    few = (is_thing & (areas > 0)).sum() <= FEW
    least = np.where(is_thing & few, 0, LARGE * grid.size)
    things, taken = np.isin(grid, 1 + np.flatnonzero(is_thing)), np.zeros(grid.shape, bool)
    for index in np.argsort(-areas, kind="stable"):
        if areas[index] <= least[index]:
            continue
        mask, text = grid == index + 1, names[index]
        width, height = math.ceil(font.getlength(text) + 0.9 * font.size), round(1.5 * font.size)
        size = math.ceil(height / step), math.ceil(width / step)
        place = _inside(mask, taken, size)
        if place is None and is_thing[index]:
            place = _beside(mask, taken | things, size)
        if place is None:
            continue
        top, left = place
        taken[top : top + size[0], left : left + size[1]] = True
        x, y = left * step, top * step
        draw.rounded_rectangle((x, y, x + width, y + height), font.size / 3, PLATE)
        draw.text((x + width / 2, y + height / 2), text, TEXT, font, anchor="mm")
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _inside(mask: np.ndarray, taken: np.ndarray, size: tuple[int, int]) -> tuple[int, int] | None:
    """Where a label (rows, columns) lies best on a region at least twice its size: (top, left)."""
    label = size[0] * size[1]
    if mask.sum() < 2 * label or size[0] > mask.shape[0] or size[1] > mask.shape[1]:
        return None
    cover = _window_sums(mask, size) / label
    cover[_window_sums(taken, size) > 0] = 0
    rows, columns = np.nonzero(mask)
    down = np.arange(cover.shape[0])[:, None] + size[0] / 2 - rows.mean()
    right = np.arange(cover.shape[1]) + size[1] / 2 - columns.mean()
    # of equal places the one nearest to the region's centre
    best = np.argmax(cover - 0.5 * np.hypot(down, right) / max(mask.shape))
    top, left = np.unravel_index(best, cover.shape)
    return (int(top), int(left)) if cover[top, left] >= ROOM else None


def _beside(mask: np.ndarray, busy: np.ndarray, size: tuple[int, int]) -> tuple[int, int] | None:
    """Where a label (rows, columns) is free just above or below a region: (top, left)."""
    rows, columns = np.nonzero(mask)
    left = max(0, min(round(columns.mean() - size[1] / 2), mask.shape[1] - size[1]))
    for top in (int(rows.min()) - size[0], int(rows.max()) + 1):
        window = busy[max(top, 0) : top + size[0], left : left + size[1]]
        if window.shape == size and not window.any():
            return top, left
    return None


def _window_sums(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How many pixels of the mask lie in every window of a size (rows, columns)."""
    total = np.pad(mask.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    rows, columns = size
    bands = total[rows:] - total[:-rows]
    return bands[:, columns:] - bands[:, :-columns]


def draw_legend(entries: Sequence[Entry], width: int, font: Font) -> Image.Image:
    """A strip of swatches, names and amounts; what does not fit is summed up as `+n more`."""
    size, pad, line = font.size, round(0.8 * font.size), round(1.8 * font.size)
    room = width - 2 * pad
    names = [shorten(entry.name, font, room - 11 * size) for entry in entries]
    widths = [
        math.ceil(font.getlength(f"{name} {entry.amount}") + 3 * size)
        for name, entry in zip(names, entries, strict=True)
    ]
    places = _flow(widths, room, reserve=6 * size)
    rows = places[-1][0] + 1 if places else 1
    strip = Image.new("RGB", (width, rows * line + pad), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    x, y = pad, (pad + line) / 2
    for entry, name, advance, (row, left) in zip(entries, names, widths, places, strict=False):
        x, y = pad + left, pad / 2 + (row + 0.5) * line
        cell = size / len(entry.swatch)
        for position, color in enumerate(entry.swatch):
            start = x + position * cell
            draw.rectangle((start, y - size / 2, start + cell, y + size / 2), color)
        draw.text((x + 1.4 * size, y), name, TEXT, font, anchor="lm")
        behind = x + 1.4 * size + font.getlength(f"{name} ")
        draw.text((behind, y), entry.amount, MUTED, font, anchor="lm")
        x += advance
    if len(places) < len(entries) or not entries:
        remark = f"+{len(entries) - len(places)} more" if entries else "nothing found"
        draw.text((x, y), remark, MUTED, font, anchor="lm")
    return strip


def _flow(widths: list[int], room: float, reserve: float) -> list[tuple[int, int]]:
    """Flow boxes into rows: (row, left) of those that fit, with `reserve` left for a remark."""
    places: list[tuple[int, int]] = []
    row = left = 0
    for position, width in enumerate(widths):
        spare = row == LEGEND_ROWS - 1 and position < len(widths) - 1
        if left and left + width > (room - reserve if spare else room):
            row, left = row + 1, 0
        if row == LEGEND_ROWS:
            break
        places.append((row, left))
        left += width
    return places
