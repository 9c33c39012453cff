"""One picture of each kind of result: with a hole, with two parts, with objects that overlap."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.categories import Categories
from mask2former.saving import CLIP_FORMATS, FORMATS, Record
from mask2former.structures import Instances, Panoptic, Result, Segment, SemanticMap

HEIGHT, WIDTH = 80, 120


@pytest.fixture
def categories() -> Categories:
    return Categories.from_json(
        [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}, {"id": 4, "name": "sky", "isthing": 0}]
    )


@pytest.fixture
def masks() -> np.ndarray:
    """A ring, two discs, and a disc over the edge of the ring (3, 1, H, W)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ring = abs(np.hypot(y - 40, x - 40) - 20) < 8
    discs = (np.hypot(y - 20, x - 95) < 15) | (np.hypot(y - 60, x - 95) < 18)
    return np.stack([ring, discs, np.hypot(y - 40, x - 62) < 12])[:, None]


@pytest.fixture
def instances(masks: np.ndarray) -> Instances:
    return Instances.of_masks(masks, np.array([1, 0, 1]), np.array([0.9, 0.6, 0.3], np.float32))


@pytest.fixture
def panoptic(masks: np.ndarray) -> Panoptic:
    ids = np.full((1, HEIGHT, WIDTH), 70_000, np.int32)
    ids[masks[1]], ids[masks[0]], ids[0, :5] = 2, 1, 0
    segments = [(1, 1, 0.9), (2, 0, 0.6), (70_000, 2, 0.8)]
    return Panoptic(
        ids, [Segment(i, c, score, int((ids == i).sum()), c < 2) for i, c, score in segments]
    )


@pytest.fixture
def semantic(masks: np.ndarray) -> SemanticMap:
    labels = np.full((1, HEIGHT, WIDTH), 2, np.int16)
    labels[masks[1]], labels[masks[0]], labels[0, :5] = 0, 1, -1
    return SemanticMap(labels)


@pytest.fixture
def save(tmp_path: Path, categories: Categories) -> Callable[..., Path]:
    """`save("coco", result, "a.png", ...)` saves one result as every file, and gives the folder."""

    def write(form: str, result: Result, *files: str) -> Path:
        out = tmp_path / "out"
        with (FORMATS | CLIP_FORMATS)[form].write(out, categories) as add:
            for file in files:
                path = tmp_path / "pictures" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (WIDTH, HEIGHT)).save(path)
                add(Record([file], result, path))
        return out

    return write
