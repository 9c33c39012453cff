"""Pictures of any size: the network sees one tile after the other, and the results are joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from mask2former.config import Task
from mask2former.postprocess.mosaic import (
    InstanceMosaic,
    Mosaic,
    PanopticMosaic,
    SemanticMosaic,
    Size,
)
from mask2former.postprocess.seams import EDGE, lay_windows
from mask2former.structures import Result


class Tiling(NamedTuple):
    """Squares of `side` pixels that overlap by `overlap`, both in the picture's own pixels."""

    side: int
    overlap: int

    @classmethod
    def of(cls, side: int, overlap: int | None = None) -> Tiling:
        """Check the two; an eighth of the side overlaps unless told. Raises ValueError."""
        overlap = side // 8 if overlap is None else overlap
        if side < 64:
            raise ValueError(f"tiles of {side} pixels show too little; take 64 or more")
        if not 2 * EDGE <= overlap <= side // 2:
            raise ValueError(
                f"tiles of {side} pixels cannot overlap by {overlap}: take {2 * EDGE} to "
                f"{side // 2}, and best more than most objects are long"
            )
        return cls(side, overlap)


def as_tiling(side: int | None, overlap: int | None) -> Tiling | None:
    """What the command line says of tiles."""
    if side is None and overlap is not None:
        raise ValueError("--overlap is that of tiles; give --tile too, such as --tile 1024")
    return None if side is None else Tiling.of(side, overlap)


class Segmenter(Protocol):
    """What answers for one tile: pixels (H, W, C) -> the plain result."""

    def segment(self, image: np.ndarray, task: Task, threshold: float | None) -> Result: ...


def segment_tiles(
    segmenter: Segmenter,
    image: np.ndarray,
    task: Task,
    threshold: float | None,
    *,
    tiling: Tiling,
    is_thing: Sequence[bool],
) -> Result:
    """The plain result of a picture (H, W, C).

    Besides picture and result, it needs the memory of one tile and the boxed masks of all objects.
    """
    size = (image.shape[0], image.shape[1])
    mosaic = _mosaic(task, size, is_thing)
    for window in lay_windows(size, *tiling):
        mosaic.add(window, segmenter.segment(image[window.box], task, threshold))
    return mosaic.finish()


def _mosaic(task: Task, size: Size, is_thing: Sequence[bool]) -> Mosaic:
    match task:
        case "semantic":
            return SemanticMosaic(size)
        case "instance":
            return InstanceMosaic(size)
        case "panoptic":
            return PanopticMosaic(size, is_thing)
