"""Pascal VOC: maps of classes, with maps of objects beside them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from mask2former import rle
from mask2former.categories import Task
from mask2former.data.dataset import Dataset, as_sample
from mask2former.data.semantic import LabelMaps, files_by_name
from mask2former.files import read_numbers
from mask2former.structures import Sample, TrueInstance, TrueSegment, Truth

VOID = (255, 224 | 224 << 8 | 192 << 16)
"""The number of the rims between objects, where nobody counts, and what VOC's palette paints."""


class ObjectMaps(Dataset):
    """The pictures of `classes`, and a folder of maps with a number or colour for each object.

    An object is of the thing that most of its pixels are. `task` tells what a training target is:
    an object (instance), or an object or a kind of stuff (panoptic).
    """

    def __init__(self, classes: LabelMaps, objects: str | Path, *, task: Task) -> None:
        self._classes = classes
        self.categories = classes.categories
        self.task = task
        maps = files_by_name(Path(objects))
        names = [
            PurePosixPath(classes.name(i)).with_suffix("").as_posix() for i in range(len(self))
        ]
        alone = [name for name in names if name not in maps]
        if alone:
            first = ", ".join(alone[:3])
            raise ValueError(f"{objects}: no map of objects for {len(alone)} pictures: {first}")
        self._maps = [maps[name] for name in names]

    def __len__(self) -> int:
        return len(self._classes)

    def file(self, index: int) -> Path:
        return self._classes.file(index)

    def sample(self, index: int) -> Sample:
        image = self.image(index)
        ids, segments, _ = self._regions(index)
        if image.shape[:2] != ids.shape:
            pair = f"{self.file(index)} and {self._maps[index]}"
            raise ValueError(f"{pair} are not of one size: {image.shape[:2]} and {ids.shape}")
        labels = [segment.label for segment in segments]
        return as_sample(image[None], ids[None, None], labels, self._classes.name(index))

    def truth(self, index: int) -> Truth:
        ids, segments, void = self._regions(index)
        objects = [
            TrueInstance(rle.encode(ids == s.id), s.label, s.area, is_crowd=False)
            for s in segments
            if self.categories[s.label].is_thing
        ]
        if self.task == "instance":
            return Truth(ids.shape, instances=objects, void=void)
        semantic = self._classes.read_labels(index)
        return Truth(ids.shape, semantic, objects, ids, segments, void)

    def _regions(self, index: int) -> tuple[np.ndarray, list[TrueSegment], np.ndarray]:
        """A map of ids 1, 2, ... (H, W), what they are, and where the rims are (H, W)."""
        labels, numbers = self._classes.read_labels(index), read_numbers(self._maps[index])
        if labels.shape != numbers.shape:
            raise ValueError(
                f"{self._maps[index]}: {numbers.shape} pixels, but the map of classes has "
                f"{labels.shape}"
            )
        void = numbers == VOID[numbers.dtype == np.int32]
        values, places = np.unique(np.where(void, 0, numbers), return_inverse=True)
        places = places.reshape(labels.shape)
        classes = len(self.categories) + 1
        votes = np.bincount(
            (places * classes + labels + 1).ravel(), minlength=len(values) * classes
        ).reshape(len(values), classes)[:, 1:]
        is_thing = np.array(self.categories.is_thing)
        of_things = votes * is_thing * (values != 0)[:, None]
        chosen = np.flatnonzero(of_things.any(axis=1))
        id_of_place = np.zeros(len(values), np.int32)
        id_of_place[chosen] = np.arange(1, len(chosen) + 1)
        ids, found = id_of_place[places], of_things[chosen].argmax(axis=1).tolist()
        for label in np.flatnonzero(votes.any(axis=0) & ~is_thing).tolist():
            found.append(label)
            ids[(labels == label) & (ids == 0)] = len(found)
        areas = np.bincount(ids.ravel(), minlength=len(found) + 1)[1:].tolist()
        segments = [
            TrueSegment(number, label, area, is_crowd=False)
            for number, (label, area) in enumerate(zip(found, areas, strict=True), start=1)
        ]
        return ids, segments, void
