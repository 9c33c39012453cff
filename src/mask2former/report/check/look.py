"""Look at every picture: can it be read, what does it teach, and what does it look like."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mask2former import rle
from mask2former.data import Dataset
from mask2former.render import as_picture
from mask2former.report.check.findings import Findings

GRID = 8  # a picture's print is a bit for each of so many rows and columns
FLAT = 4.0  # grey levels; pictures whose print rests on less look like one another


class Seen(NamedTuple):
    """What is kept of a picture."""

    index: int
    size: tuple[int, int]  # height, width
    labels: list[int]  # of the training targets
    sides: list[float]  # roots of their areas, in pixels
    digest: bytes  # of the pixels
    print: int | None  # a small difference hash; None for flat pictures

    def forget(self) -> Seen:
        """The same without what is counted already."""
        return self._replace(labels=[], sides=[])


def look_at_all(
    dataset: Dataset, findings: Findings, threads: int, show: Callable[[int], None]
) -> Iterator[tuple[int, Seen | None]]:
    """Look at the pictures of a data set in their order; None stands for one with a fault."""
    with ThreadPoolExecutor(threads) as pool:
        # In portions, as the pool keeps a record of all that it is asked for.
        for portion in _portions(len(dataset), 32 * threads):
            found = pool.map(lambda index: look(dataset, index, findings), portion)
            for index, seen in zip(portion, found, strict=True):
                yield index, seen
                show(index + 1)


def look(dataset: Dataset, index: int, findings: Findings) -> Seen | None:
    """Read a picture and its annotation as training does; None where there is a fault."""
    file = Path(dataset.file(index))
    try:
        if dataset.varies:
            return _look_at_clip(dataset, index)
        sample = dataset.sample(index)
    except (ValueError, OSError) as error:
        findings.fault(file, "", ValueError(str(error)))
        return None
    pixels = sample["image"].numpy()[0].transpose(1, 2, 0)
    ids = sample["ids"].numpy()
    areas = np.bincount(ids.ravel(), minlength=len(sample["labels"]) + 1)[1:]
    sides = np.sqrt(areas).tolist()
    size = pixels.shape[0], pixels.shape[1]
    return Seen(
        index, size, sample["labels"].tolist(), sides, _digest(pixels), picture_print(pixels)
    )


def _look_at_clip(dataset: Dataset, index: int) -> Seen:
    """All frames of a clip, of which a training sample would draw a few."""
    frames = dataset.image(index)
    objects = [found for found in dataset.truth(index).instances or () if not found.is_crowd]
    height, width = frames.shape[1:3]
    sides = [float(np.sqrt(rle.area(one.rle) / len(frames))) for one in objects]
    labels = [one.label for one in objects]
    return Seen(index, (height, width), labels, sides, _digest(frames), picture_print(frames[0]))


def picture_print(pixels: np.ndarray) -> int | None:
    """A difference hash of 64 bits: whether each of 8 x 8 patches is brighter than its right one.

    Copies in another size or compression differ in few bits.
    """
    small = (
        Image.fromarray(as_picture(pixels))
        .convert("L")
        .resize((GRID + 1, GRID), Image.Resampling.BOX)
    )
    grey = np.asarray(small, np.float32)
    if grey.std() < FLAT:
        return None
    return int.from_bytes(np.packbits(grey[:, :-1] > grey[:, 1:]).tobytes())


def _digest(pixels: np.ndarray) -> bytes:
    whole = hashlib.blake2b(str(pixels.shape).encode(), digest_size=12)
    whole.update(np.ascontiguousarray(pixels).data)
    return whole.digest()


def _portions(count: int, size: int) -> Iterator[range]:
    return (range(first, min(first + size, count)) for first in range(0, count, size))
