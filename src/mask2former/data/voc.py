"""Pascal VOC: maps of classes, with maps of objects beside them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from mask2former.categories import Categories, Task
from mask2former.data.regions import RegionMaps, Regions
from mask2former.data.semantic import LabelMaps, files_by_name
from mask2former.files import read_numbers

VOID = (255, 224 | 224 << 8 | 192 << 16)
"""The number of the rims between objects, where nobody counts, and what VOC's palette paints."""


class ObjectMaps(RegionMaps):
    """The pictures of `classes`, and a folder of maps with a number or colour for each object.

    An object is of the thing that most of its pixels are.
    """

    def __init__(
        self,
        classes: LabelMaps,
        objects: str | Path,
        *,
        task: Task,
        wanted: Categories | None = None,
    ) -> None:
        super().__init__(classes, task=task, wanted=wanted)
        maps = files_by_name(Path(objects))
        names = [
            PurePosixPath(classes.name(i)).with_suffix("").as_posix() for i in range(len(self))
        ]
        alone = [name for name in names if name not in maps]
        if alone:
            first = ", ".join(alone[:3])
            raise ValueError(f"{objects}: no map of objects for {len(alone)} pictures: {first}")
        self._maps = [maps[name] for name in names]

    def regions(self, index: int) -> Regions:
        labels, numbers = self.classes.class_map(index), read_numbers(self._maps[index])
        if labels.shape != numbers.shape:
            raise ValueError(
                f"{self._maps[index]}: {numbers.shape} pixels, but the map of classes has "
                f"{labels.shape}"
            )
        void = numbers == VOID[numbers.dtype == np.int32]
        values, places = np.unique(np.where(void, 0, numbers), return_inverse=True)
        places = places.reshape(labels.shape)
        known = self.classes.categories
        classes = len(known) + 1
        votes = np.bincount(
            (places * classes + labels + 1).ravel(), minlength=len(values) * classes
        ).reshape(len(values), classes)[:, 1:]
        of_things = votes * np.array(known.is_thing) * (values != 0)[:, None]
        chosen = np.flatnonzero(of_things.any(axis=1))
        id_of_place = np.zeros(len(values), np.int32)
        id_of_place[chosen] = np.arange(1, len(chosen) + 1)
        of_thing = of_things[chosen].argmax(axis=1).tolist()
        found = self.with_stuff(id_of_place[places], labels, of_thing)
        return found._replace(void=found.void | void)
