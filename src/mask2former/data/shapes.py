"""Synthetic pictures and clips of circles, squares and triangles, for tests and first steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mask2former import rle
from mask2former.categories import Categories, Category, Task
from mask2former.data.dataset import Dataset, as_sample
from mask2former.structures import IGNORE, Sample, TrueInstance, TrueSegment, Truth

THINGS = (
    Category(1, "circle", (230, 90, 80)),
    Category(2, "square", (90, 200, 100)),
    Category(3, "triangle", (90, 120, 230)),
)
BACKGROUND = Category(4, "background", (70, 70, 70), is_thing=False)


class _Shape(NamedTuple):
    kind: int  # which of THINGS
    radius: float
    centers: np.ndarray  # (T, 2), x and y
    color: np.ndarray  # (3,)


class Shapes(Dataset):
    """Endlessly many kinds of truth from a seed: shapes that never overlap, on grey noise.

    `task` tells what a training target is: a shape (instance), a class (semantic), or a shape or
    the background (panoptic). A class has a colour, jittered, so that a tiny model learns it soon.
    With `frames` > 1 the shapes move in straight lines, and truth and masks have the frames side by
    side, as video metrics read them. `categories` gives the labels (a trained model's).
    """

    def __init__(
        self,
        length: int,
        size: tuple[int, int] = (96, 96),
        *,
        seed: int = 0,
        task: Task = "panoptic",
        frames: int = 1,
        objects: tuple[int, int] = (2, 5),
        categories: Categories | None = None,
    ) -> None:
        own = Categories(THINGS if task == "instance" else (*THINGS, BACKGROUND))
        self.categories = own if categories is None else own.in_order_of(categories)
        kinds = (*THINGS, BACKGROUND)
        self._labels = np.array([self.categories.label_of.get(kind.id, IGNORE) for kind in kinds])
        self.task = task
        self._length = length
        self._size = size
        self._seed = seed
        self._frames = frames
        self._objects = objects

    def __len__(self) -> int:
        return self._length

    def file(self, index: int) -> str:
        return f"shapes/{self._seed}/{index:06d}.png"

    def image(self, index: int) -> np.ndarray:
        frames, _, _ = self._draw(index)
        return frames[0] if self._frames == 1 else frames

    def sample(self, index: int) -> Sample:
        frames, places, labels = self._draw(index)
        background = self._labels[-1]
        match self.task:
            case "instance":
                ids, classes = places, labels
            case "panoptic":
                ids = np.where(places == 0, len(labels) + 1, places)
                classes = np.append(labels, background)
            case "semantic":
                classes, place_ids = np.unique(np.append(background, labels), return_inverse=True)
                ids = place_ids[places] + 1
        return as_sample(frames, ids[None], classes, self.file(index))

    def truth(self, index: int) -> Truth:
        _, places, labels = self._draw(index)
        masks = [places == place for place in range(1, len(labels) + 1)]
        instances = [
            TrueInstance(rle.encode_clip(mask), int(label), rle.mean_area(mask), is_crowd=False)
            for label, mask in zip(labels, masks, strict=True)
        ]
        places = rle.side_by_side(places)
        if self.task == "instance":
            return Truth(places.shape, instances=instances)
        label_of_place = np.append(self._labels[-1], labels).astype(np.int16)
        panoptic = places + 1
        areas = np.bincount(panoptic.ravel())
        segments = [
            TrueSegment(place + 1, int(label), int(areas[place + 1]), is_crowd=False)
            for place, label in enumerate(label_of_place)
        ]
        return Truth(places.shape, label_of_place[places], instances, panoptic, segments)

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw frames (T, H, W, 3) uint8, places (T, H, W) int32 (0 = background) and labels."""
        random = np.random.default_rng((self._seed, index))
        height, width = self._size
        count = int(random.integers(*self._objects, endpoint=True))
        shapes = _place_shapes(random, self._size, self._frames, count)
        frames = random.normal(70, 12, (self._frames, height, width, 3))
        places = np.zeros((self._frames, height, width), np.int32)
        y, x = np.mgrid[:height, :width]
        for place, shape in enumerate(shapes, start=1):
            for frame, (center_x, center_y) in enumerate(shape.centers):
                inside = _INSIDE[shape.kind](x - center_x, y - center_y, shape.radius)
                places[frame][inside] = place
                frames[frame][inside] += shape.color - 70
        labels = self._labels[[shape.kind for shape in shapes]]
        return frames.clip(0, 255).astype(np.uint8), places, labels


def _place_shapes(
    random: np.random.Generator, size: tuple[int, int], frames: int, count: int
) -> list[_Shape]:
    """Draw shapes whose surrounding circles are apart in every frame; fewer where it is crowded."""
    height, width = size
    shapes: list[_Shape] = []
    for _ in range(20 * count):
        if len(shapes) == count:
            break
        radius = random.uniform(0.09, 0.2) * min(size)
        start, end = random.uniform(radius, np.array([width, height]) - 1 - radius, (2, 2))
        centers = np.linspace(start, end, frames)
        kind = int(random.integers(len(THINGS)))
        color = np.array(THINGS[kind].color) + random.uniform(-25, 25, 3)
        if all(
            (np.linalg.norm(centers - other.centers, axis=1) > radius + other.radius + 1).all()
            for other in shapes
        ):
            shapes.append(_Shape(kind, radius, centers, color))
    return shapes


def _in_circle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return x**2 + y**2 <= radius**2


def _in_square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) <= 0.7 * radius


def _in_triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return (abs(x) <= 0.5 * (y + radius)) & (y <= 0.6 * radius)


_Inside = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
_INSIDE: tuple[_Inside, ...] = (_in_circle, _in_square, _in_triangle)
