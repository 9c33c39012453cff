"""Pictures people like to look at: results laid over their image, with names and a legend."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mask2former.captions import (
    BACKGROUND,
    TEXT,
    Entry,
    draw_legend,
    font_for,
    shorten,
    write_names,
)
from mask2former.categories import Categories, Color
from mask2former.rasters import as_picture
from mask2former.structures import Instances, Panoptic, Result, SemanticMap

COMFORTABLE = 640  # pixels; smaller pictures are enlarged until text can be read
HUGE = 4096  # pixels; larger pictures are reduced, since nobody looks at so many
BRIGHT = 170  # mean grey from which outlines are dark instead of light
HUES = 8  # variants of a class colour; neighbours never share one


class Region(NamedTuple):
    """One region of a drawn id map; the n-th region (from 0) owns the pixels of id n + 1."""

    label: int
    score: float
    is_thing: bool


def overlay(
    image: np.ndarray, result: Result, categories: Categories, frame: int = 0
) -> Image.Image:
    """Lay one frame of a result over its image (H, W, 3) uint8: colours, outlines, names, legend.

    Small images come back enlarged by a whole number, huge ones reduced by one; the legend is a
    strip below the picture.
    """
    size = _size(result)
    if image.ndim != 3 or image.shape[:2] != size:
        raise ValueError(
            f"the image is {image.shape} but the result needs {(*size, 'C')}; "
            "draw a result over the image it was made from"
        )
    factor = math.ceil(max(size) / HUGE)
    ids, regions = _flatten(result, frame, factor)
    image = as_picture(image, factor)
    names = [_spoken(categories[region.label].name) for region in regions]
    colors = _region_colors(ids, regions, categories)
    if isinstance(result, Instances) and result.size[0] > 1:
        colors = _lasting_colors(regions, categories)
    entries = _entries(ids, regions, names, colors)

    is_thing = np.array([region.is_thing for region in regions], bool)
    # annotations have no doubt, so nobody needs to read that their score is 1
    scores = [f" {region.score:.2f}" if region.score < 1 else "" for region in regions]

    ids = _enlarge(ids, math.ceil(COMFORTABLE / max(ids.shape)))
    size = ids.shape[1], ids.shape[0]
    enlarged = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    picture = Image.fromarray(_paint(enlarged, ids, colors, is_thing))
    titles = [name + score for name, score in zip(names, scores, strict=True)]
    picture = write_names(picture, ids, titles, is_thing)
    legend = draw_legend(entries, picture.width, font_for(size))
    canvas = Image.new("RGB", (picture.width, picture.height + legend.height))
    canvas.paste(picture, (0, 0))
    canvas.paste(legend, (0, picture.height))
    return canvas


def side_by_side(pictures: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    """Put pictures in a row, top edges aligned, each under its title."""
    assert len(pictures) == len(titles) > 0, "every picture needs a title"
    font = font_for(min(picture.size for picture in pictures))
    bar, gap = round(2.2 * font.size), max(4, round(font.size / 2))
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    canvas = Image.new("RGB", (width, bar + max(p.height for p in pictures)), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    left = 0
    for picture, title in zip(pictures, titles, strict=True):
        text = shorten(title, font, picture.width - 2 * gap)
        draw.text((left + gap, bar / 2), text, TEXT, font, anchor="lm")
        canvas.paste(picture, (left, bar))
        left += picture.width + gap
    return canvas


def _size(result: Result) -> tuple[int, int]:
    """Height and width."""
    match result:
        case SemanticMap():
            return result.labels.shape[1:]
        case Panoptic():
            return result.ids.shape[1:]
        case Instances():
            return result.size[1:]


def _flatten(result: Result, frame: int, factor: int = 1) -> tuple[np.ndarray, list[Region]]:
    """One id map (H, W) int32 of every `factor`-th pixel of a frame, 0 = nothing; its regions."""
    match result:
        case SemanticMap():
            labels = result.labels[frame, ::factor, ::factor]
            present = np.unique(labels[labels >= 0])
            regions = [Region(int(label), score=1.0, is_thing=False) for label in present]
            return _positions(labels, present), regions
        case Panoptic():
            segments = sorted(result.segments)
            regions = [Region(s.label, s.score, s.is_thing) for s in segments]
            ids = result.ids[frame, ::factor, ::factor]
            return _positions(ids, np.array([s.id for s in segments])), regions
        case Instances():
            scored = zip(result.labels.tolist(), result.scores.tolist(), strict=True)
            return _pile(result, frame, factor), [Region(*pair, is_thing=True) for pair in scored]


def _positions(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Replace every value by its position in the sorted `known`, from 1; 0 if it is not there."""
    if known.size == 0:
        return np.zeros(values.shape, np.int32)
    position = np.searchsorted(known, values).clip(max=known.size - 1)
    return np.where(known[position] == values, position + 1, 0).astype(np.int32)


def _pile(result: Instances, frame: int, factor: int) -> np.ndarray:
    """Pile the masks of a frame into one id map, the small on top of the large."""
    _, height, width = result.size
    ids = np.zeros((-(-height // factor), -(-width // factor)), np.int32)
    for index in np.argsort([-boxed.area for boxed in result.boxed], kind="stable").tolist():
        boxed = result.boxed[index]
        frames, rows, columns = boxed.window()
        if not frames.start <= frame < frames.stop:
            continue
        (top, down), (left, right) = (
            (-(-side.start // factor), -side.start % factor) for side in (rows, columns)
        )
        mask = boxed.pixels[frame - frames.start, down::factor, right::factor]
        ids[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = index + 1
    return ids


def _enlarge(ids: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every pixel, and round the corners of the stairs that this would leave."""
    if factor == 1:
        return ids
    large = ids.repeat(factor, axis=0).repeat(factor, axis=1)
    above, below = np.vstack([ids[:1], ids[:-1]]), np.vstack([ids[1:], ids[-1:]])
    before, after = np.hstack([ids[:, :1], ids[:, :-1]]), np.hstack([ids[:, 1:], ids[:, -1:]])
    for row, upright, other in ((0, above, below), (factor - 1, below, above)):
        for column, level, across in ((0, before, after), (factor - 1, after, before)):
            corner = (upright == level) & (upright != other) & (level != across)
            large[row::factor, column::factor][corner] = level[corner]
    return large


def _region_colors(ids: np.ndarray, regions: list[Region], categories: Categories) -> list[Color]:
    """Class colours; things vary around theirs, over all hues where they are all there is."""
    variants = np.zeros(len(regions), int)
    things = [index for index, region in enumerate(regions) if region.is_thing]
    variants[things] = _variants(_centres(ids, len(regions))[things])
    return _vary(regions, variants, categories)


def _lasting_colors(regions: list[Region], categories: Categories) -> list[Color]:
    """Colours that objects keep through a clip, wherever they go."""
    return _vary(regions, np.arange(len(regions)) % HUES, categories)


def _vary(regions: list[Region], variants: np.ndarray, categories: Categories) -> list[Color]:
    """Class colours, of things in their variants."""
    things = [region for region in regions if region.is_thing]
    whole_wheel = len(things) == len(regions) and len({region.label for region in regions}) == 1
    turn = 1.0 if whole_wheel else 0.14
    return [
        _thing_color(categories[region.label].color, int(variant), turn)
        if region.is_thing
        else _stuff_color(categories[region.label].color)
        for region, variant in zip(regions, variants, strict=True)
    ]


def _thing_color(color: Color, variant: int, turn: float) -> Color:
    """A vivid relative of a class colour, within `turn` of the wheel of hues."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in color))
    # three eighths of the range apart, so that successive variants are unlike each other
    hue += turn * ((variant * 3 / HUES + 0.5) % 1 - 0.5)
    pale, dim = 0.25 * (variant % 2), 0.15 * (variant // 2 % 2)
    return _rgb(hue, max(saturation, 0.65) - pale, max(value, 0.9) - dim)


def _stuff_color(color: Color) -> Color:
    """A class colour, dark ones lifted so that the picture below still shows."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in color))
    return _rgb(hue, 0.9 * saturation, 0.4 + 0.6 * value)


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _centres(ids: np.ndarray, count: int) -> np.ndarray:
    """The centre of mass (row, column) of every region, (count, 2)."""
    flat = ids.ravel()
    areas = np.bincount(flat, minlength=count + 1).clip(min=1)
    axes = (axis.ravel() for axis in np.indices(ids.shape))
    return np.stack([np.bincount(flat, axis, count + 1) / areas for axis in axes], axis=1)[1:]


def _variants(centres: np.ndarray) -> np.ndarray:
    """Give every object the first colour variant that no near object has, (N,) in 0..HUES-1."""
    variants = np.zeros(len(centres), int)
    for index in range(1, len(centres)):
        distances = ((centres[:index] - centres[index]) ** 2).sum(axis=1)
        taken = variants[np.argsort(distances)[: HUES - 1]]
        variants[index] = np.setdiff1d(np.arange(HUES), taken)[0]
    return variants


def _paint(
    picture: np.ndarray, ids: np.ndarray, colors: list[Color], is_thing: np.ndarray
) -> np.ndarray:
    """Blend the colours in and draw the outlines: crisp around things, faint between stuff."""
    is_thing = np.concatenate([[False], is_thing])  # nothing comes first, as in `ids`
    opacity = np.where(is_thing, 0.5, 0.42).astype(np.float32)
    opacity[0] = 0
    palette = np.array([(0, 0, 0), *colors], np.float32)
    weight = opacity[ids, None]
    painted = picture * (1 - weight) + palette[ids] * weight
    edge = _inner_edge(ids, _line_width(ids, is_thing))
    around_things = edge & is_thing[ids]
    bright = around_things.any() and picture[around_things].mean() > BRIGHT
    for outline, strength in ((edge & ~around_things & (ids > 0), 0.25), (around_things, 0.75)):
        painted[outline] += strength * ((0 if bright else 255) - painted[outline])
    return painted.round().astype(np.uint8)


def _line_width(ids: np.ndarray, is_thing: np.ndarray) -> int:
    """The outlines' width in pixels: thin enough to leave most of a usual thing uncovered."""
    areas = np.bincount(ids.ravel(), minlength=is_thing.size)[is_thing]
    side = np.sqrt(np.median(areas[areas > 0])) if areas.any() else np.inf
    return max(1, round(min(*ids.shape, 64 * side) / 500))


def _inner_edge(ids: np.ndarray, thickness: int) -> np.ndarray:
    """Pixels with another region (or nothing) at most `thickness` away along a row or column."""
    edge = np.zeros(ids.shape, bool)
    for step in range(1, thickness + 1):
        down, right = ids[step:] != ids[:-step], ids[:, step:] != ids[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= right
        edge[:, :-step] |= right
    return edge


def _entries(
    ids: np.ndarray, regions: list[Region], names: list[str], colors: list[Color]
) -> list[Entry]:
    """The lines of a legend: things by number, then stuff by its share of the picture."""
    shares = np.bincount(ids.ravel(), minlength=len(regions) + 1)[1:] / ids.size
    members: dict[tuple[bool, int], list[int]] = {}
    for index in np.flatnonzero(shares).tolist():
        region = regions[index]
        members.setdefault((region.is_thing, region.label), []).append(index)
    ranked = []
    for (is_thing, _), group in members.items():
        weight = len(group) if is_thing else float(shares[group].sum())
        amount = str(weight) if is_thing else f"{100 * weight:.0f} %" if weight > 0.005 else "<1 %"
        entry = Entry(names[group[0]], amount, [colors[index] for index in group[:4]])
        ranked.append((not is_thing, -weight, entry))
    return [entry for _, _, entry in sorted(ranked)]


def _spoken(name: str) -> str:
    """A class name without the marks of its data set (`tree-merged`, `giant_panda`)."""
    for mark in ("-merged", "-other", "-stuff"):
        name = name.removesuffix(mark)
    return name.replace("_", " ")
