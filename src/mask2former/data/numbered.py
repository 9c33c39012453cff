"""Maps whose values number the objects of a picture, as Cellpose and StarDist write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data.dataset import Dataset, as_sample
from mask2former.data.listener import STRICT, Listener
from mask2former.data.semantic import pair_files
from mask2former.files import read_numbers
from mask2former.structures import Sample, TrueInstance, Truth


class NumberedObjects(Dataset):
    """Two folders of files with the same names; pixels of one value are one object.

    0 is nobody, and so is what is below. A map says nothing of classes, so there is one. Maps have
    8, 16 or 32 bits, or a colour for each object; objects do not overlap. `endings` and `names` are
    those of `LabelMaps`.
    """

    def __init__(
        self,
        images: str | Path,
        maps: str | Path,
        categories: Categories,
        *,
        endings: tuple[str, str] = ("", ""),
        names: Path | None = None,
        listener: Listener = STRICT,
    ) -> None:
        if len(categories) != 1:
            raise ValueError(
                f"{maps}: its values number objects and tell no classes, so there can be one, not "
                f"{', '.join(categories.names)}"
            )
        self.categories = categories
        self._root = Path(images)
        self._pairs = pair_files(self._root, Path(maps), endings, names, listener=listener)

    def __len__(self) -> int:
        return len(self._pairs)

    def file(self, index: int) -> Path:
        return self._pairs[index][0]

    def sample(self, index: int) -> Sample:
        image = self.image(index)
        ids, count = self._read(index)
        if image.shape[:2] != ids.shape:
            pair = " and ".join(str(file) for file in self._pairs[index])
            raise ValueError(f"{pair} are not of one size: {image.shape[:2]} and {ids.shape}")
        name = self.file(index).relative_to(self._root).as_posix()
        return as_sample(image[None], ids[None, None], [0] * count, name)

    def truth(self, index: int) -> Truth:
        ids, count = self._read(index)
        areas = np.bincount(ids.ravel(), minlength=count + 1).tolist()
        objects = [
            TrueInstance(rle.encode(ids == number), 0, areas[number], is_crowd=False)
            for number in range(1, count + 1)
        ]
        return Truth(ids.shape, instances=objects)

    def _read(self, index: int) -> tuple[np.ndarray, int]:
        """The objects of a map as 1, 2, ..., int32 (H, W), and how many there are."""
        values = np.maximum(read_numbers(self._pairs[index][1]), 0)  # some mark borders by -1
        numbers, places = np.unique(values, return_inverse=True)
        has_nobody = bool(numbers.size) and numbers[0] == 0
        ids = places.reshape(values.shape).astype(np.int32) + (not has_nobody)
        return ids, len(numbers) - has_nobody
