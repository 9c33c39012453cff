"""Masks as COCO run-length encodings: the runs of background and object, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from hotcoco import mask as coco_mask

from mask2former.faults import excerpt
from mask2former.structures import BoxedMask

Rle = dict[str, Any]
"""`{"size": [height, width], "counts": str}`, as it stands in a COCO file."""
FAR = 1e9
"""No coordinate of an annotation is farther from its picture than so many pixels."""


def encode(mask: np.ndarray) -> Rle:
    """Encode a bool mask (H, W); the counts are those of pycocotools, byte for byte."""
    assert mask.dtype == bool, mask.dtype
    width = mask.shape[1]
    columns = np.flatnonzero(mask.any(axis=0))  # most masks fill few columns: turn only those
    first, last = (columns[0], columns[-1] + 1) if columns.size else (0, 0)
    return _encode_columns(mask[:, first:last], first, width)


def encode_part(mask: np.ndarray, top: int, left: int, height: int, width: int) -> Rle:
    """Encode a bool mask that is a part of a picture, from its row `top` and column `left`."""
    below = height - top - mask.shape[0]
    return _encode_columns(np.pad(mask, ((top, below), (0, 0))), left, width)


def _encode_columns(columns: np.ndarray, first: int, width: int) -> Rle:
    """Encode some columns of a picture of a width; outside there is nothing."""
    height = columns.shape[0]
    pixels = columns.ravel(order="F")
    edges = np.flatnonzero(np.diff(pixels, prepend=False, append=False)) + first * height
    counts = np.diff(edges, prepend=0, append=height * width).tolist()
    if len(counts) > 1 and counts[-1] == 0:  # the object reaches the last pixel: no last run
        counts.pop()
    return _compress(counts, height, width)


def encode_boxed(mask: BoxedMask, size: tuple[int, int, int]) -> Rle:
    """Encode one object of a picture or clip of `size` (T, H, W), as `encode_clip` does."""
    frames, height, width = size
    if frames == 1:
        _, top, left = mask.corner
        return encode_part(mask.pixels.reshape(mask.size[1:]), top, left, height, width)
    whole = np.zeros(size, bool)
    whole[mask.window()] = mask.pixels
    return encode_clip(whole)


def encode_clip(mask: np.ndarray) -> Rle:
    """Encode one object's mask (T, H, W) as a single mask (H, T * W)."""
    return encode(side_by_side(mask))


def side_by_side(frames: np.ndarray) -> np.ndarray:
    """Lay (T, H, W) out as one picture (H, T * W).

    The IoU of two such pictures is the IoU over space and time that YouTube-VIS is measured with.
    """
    return frames.transpose(1, 0, 2).reshape(frames.shape[1], -1)


def mean_area(mask: np.ndarray) -> float:
    """The pixels of one object's mask (T, H, W) in a frame, over the frames that show it."""
    areas = np.count_nonzero(mask, axis=(1, 2))
    return float(areas.sum() / max(np.count_nonzero(areas), 1))


def decode(rle: Rle) -> np.ndarray:
    """Decode to a bool mask (H, W)."""
    return coco_mask.decode(rle).astype(bool)


def area(rle: Rle) -> int:
    """The number of pixels of the object."""
    return int(coco_mask.area(rle))


def overlaps(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """The IoU of each with each, (N, M)."""
    return _compare(first, second, crowds=[False] * len(first))


def shares(regions: Sequence[Rle], masks: Sequence[Rle]) -> np.ndarray:
    """How much of each mask lies in each region, (N, M) from 0 to 1."""
    return _compare(regions, masks, crowds=[True] * len(regions))


def _compare(first: Sequence[Rle], second: Sequence[Rle], crowds: list[bool]) -> np.ndarray:
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(list(second), list(first), crowds)).T


def box(rle: Rle) -> tuple[float, float, float, float]:
    """The smallest box around the object: x, y, width, height in pixels; zeros if it is empty."""
    x, y, width, height = coco_mask.to_bbox(rle).tolist()
    return x, y, width, height


def from_annotation(segmentation: Any, height: int, width: int) -> Rle:
    """Read the `segmentation` of a COCO annotation, in any of its forms.

    These are a polygon [x, y, x, y, ...], a list of polygons (the parts of one object), and runs
    {"size", "counts"}, plain (a list of int) or compressed (str or bytes). ValueError otherwise.
    """
    if isinstance(segmentation, Mapping):
        return _from_runs(segmentation, height, width)
    # One call a polygon: a list whose first part has four numbers would be read as boxes.
    polygons = [coco_mask.fr_poly(list(part), height, width) for part in _polygons_of(segmentation)]
    return _with_text(coco_mask.merge(polygons))


def may_cover(segmentation: Any, height: int, width: int) -> bool:
    """Whether the `segmentation` of an annotation has an area in its picture, before it is drawn.

    A polygon is asked for its box only, so that all of a large data set are soon checked. Raises
    ValueError as `from_annotation` does.
    """
    if isinstance(segmentation, Mapping):
        return area(_from_runs(segmentation, height, width)) > 0
    return any(
        min(xs) < max(xs) > 0 and min(ys) < max(ys) > 0 and min(xs) < width and min(ys) < height
        for xs, ys in ((part[::2], part[1::2]) for part in _polygons_of(segmentation))
    )


def _polygons_of(segmentation: Any) -> Sequence[Sequence[float]]:
    if isinstance(segmentation, Sequence) and len(segmentation) > 0:
        parts = [segmentation] if isinstance(segmentation[0], Real) else segmentation
        if all(_is_polygon(part) for part in parts):
            return parts
    raise ValueError(
        f"segmentation {excerpt(segmentation)} is neither a list of polygons (three points or"
        ' more, [x, y, x, y, ...]) nor {"size": [height, width], "counts": ...}'
    )


def _from_runs(runs: Mapping, height: int, width: int) -> Rle:
    size = runs.get("size")
    if "counts" not in runs or not isinstance(size, Sequence) or list(size) != [height, width]:
        raise ValueError(
            f'segmentation {excerpt(runs)} needs "counts" and the "size" of its picture,'
            f" [{height}, {width}]"
        )
    counts = runs["counts"]
    try:
        if isinstance(counts, str | bytes):
            rle = _with_text({"size": [height, width], "counts": counts})
            coco_mask.area(rle)  # raises if the runs leave the picture
            return rle
        counts = [int(count) for count in counts]
        if min(counts, default=0) < 0 or sum(counts) != height * width:
            raise ValueError(f"they do not add up to {height} x {width} pixels")
        return _compress(counts, height, width)
    except (TypeError, ValueError, OverflowError) as fault:
        raise ValueError(f"segmentation {excerpt(runs)} has broken counts: {fault}") from fault


def _is_polygon(part: object) -> bool:
    return (
        isinstance(part, Sequence)
        and len(part) >= 6
        and len(part) % 2 == 0
        # asking for Real is slow; no comparison holds for NaN
        and all(isinstance(n, int | float | np.number) and -FAR <= n <= FAR for n in part)
    )


def _compress(counts: list[int], height: int, width: int) -> Rle:
    runs = {"size": [height, width], "counts": counts}
    return _with_text(coco_mask.frPyObjects(runs, height, width))


def _with_text(rle: Mapping) -> Rle:
    counts = rle["counts"]
    return {
        "size": list(rle["size"]),
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }
