"""labelme's shapes as masks."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mask2former import rle
from mask2former.faults import excerpt

LEAST = {
    "polygon": 3,
    "rectangle": 2,
    "oriented_rectangle": 4,
    "rotation": 4,
    "circle": 2,
    "mask": 2,
}
"""The kinds of shapes that have an area, and the fewest points of each."""
WITHOUT_AREA = frozenset({"point", "points", "line", "linestrip"})
CORNERS = 128
"""Of the polygon that is drawn for a circle."""


def check_shape(shape: Any, name: str) -> str:
    """The kind of a shape; ValueError with its `name` where it cannot be drawn."""
    match shape:
        case {"label": str() as label, "points": [*points]} if label:
            kind = shape.get("shape_type") or "polygon"
        case {"label": str() as label} if label:
            raise ValueError(f"{name}: it has no list of 'points'")
        case _:
            raise ValueError(f"{name}: it has no 'label', the name of its class")
    if kind in WITHOUT_AREA:
        return kind
    if not isinstance(kind, str) or kind not in LEAST:
        known = ", ".join((*LEAST, *sorted(WITHOUT_AREA)))
        raise ValueError(f"{name}: the shape type {excerpt(kind)} is unknown; there are {known}")
    if len(points) < LEAST[kind]:
        raise ValueError(f"{name}: a {kind} has {LEAST[kind]} points or more, not {len(points)}")
    for point in points:
        match point:
            case [int() | float() as x, int() | float() as y]:
                if abs(x) < rle.FAR and abs(y) < rle.FAR:  # neither holds for NaN
                    continue
        raise ValueError(f"{name}: the point {excerpt(point)} is no [x, y] in pixels")
    if kind == "mask" and not isinstance(shape.get("mask"), str):
        raise ValueError(f"{name}: a mask without pixels; draw a polygon instead")
    return kind


def draw(shapes: Sequence[Mapping[str, Any]], size: tuple[int, int], name: str) -> rle.Rle:
    """The pixels that any of the shapes covers, in a picture of a height and width."""
    outlines = [outline(shape) for shape in shapes if shape.get("shape_type") != "mask"]
    drawn = [rle.from_annotation(outlines, *size)] if outlines else []
    drawn += [
        rle.encode(paste_mask(shape, size, name))
        for shape in shapes
        if shape.get("shape_type") == "mask"
    ]
    if len(drawn) == 1:
        return drawn[0]
    return rle.encode(np.any([rle.decode(part) for part in drawn], axis=0))


def outline(shape: Mapping[str, Any]) -> list[float]:
    """A shape as a polygon, [x, y, x, y, ...]."""
    points = np.array(shape["points"], float)
    match shape.get("shape_type"):
        case "rectangle":
            (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
            return [left, top, right, top, right, bottom, left, bottom]
        case "circle":
            angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
            radius = float(np.hypot(*(points[1] - points[0])))
            rim = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            return rim.ravel().tolist()
    return points.ravel().tolist()


def paste_mask(shape: Mapping[str, Any], size: tuple[int, int], name: str) -> np.ndarray:
    """A mask (H, W) bool from the pixels of its box, a PNG in base64 whose corner is the first
    point."""
    left, top = (round(value) for value in shape["points"][0])
    try:
        file = io.BytesIO(base64.b64decode(shape["mask"], validate=True))
        with Image.open(file) as image:
            pixels = np.array(image.convert("L")) > 0
    except (binascii.Error, OSError, SyntaxError) as error:
        raise ValueError(f"{name}: its mask is no PNG in base64 ({error})") from None
    whole = np.zeros(size, bool)
    down, right = max(-top, 0), max(-left, 0)
    part = pixels[down : max(size[0] - top, 0), right : max(size[1] - left, 0)]
    top, left = max(top, 0), max(left, 0)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole
