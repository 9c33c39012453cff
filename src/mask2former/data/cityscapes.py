"""Cityscapes as downloaded: pictures and the instance maps of the fine annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data.dataset import Dataset, as_sample
from mask2former.data.listener import STRICT, Listener
from mask2former.data.semantic import pair_files
from mask2former.files import read_label_map
from mask2former.structures import IGNORE, Sample, TrueInstance, TrueSegment, Truth

ENDINGS = ("_leftImg8bit", "_gtFine_instanceIds")
PER_CLASS = 1000
"""A map's value is a class, or that many times a class plus the number of an object."""


class Cityscapes(Dataset):
    """The folders `leftImg8bit/train` and `gtFine/train`, say; `categories` are those evaluated.

    A thing without a number is a group of them, a crowd; classes beside the categories are void.
    A training target is an object or a kind of stuff.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        categories: Categories,
        *,
        listener: Listener = STRICT,
    ) -> None:
        self.categories = categories
        self._root = Path(images)
        self._pairs = pair_files(self._root, Path(annotations), ENDINGS, listener=listener)
        values = np.arange(2**16)
        class_ids = np.where(values < PER_CLASS, values, values // PER_CLASS)
        official = Categories.bundled("cityscapes_panoptic")
        _check_numbers(categories, official)
        evaluated = set(official.label_of)
        # The numbered objects of classes that are not evaluated are no void: so the official count.
        self._is_void = np.array([value < PER_CLASS and value not in evaluated for value in values])
        labels = [categories.label_of.get(class_id, IGNORE) for class_id in class_ids.tolist()]
        self._label_of_value = np.array(labels, np.int16)

    def __len__(self) -> int:
        return len(self._pairs)

    def file(self, index: int) -> Path:
        return self._pairs[index][0]

    def sample(self, index: int) -> Sample:
        image, values = self.image(index), self._read_values(index)
        if image.shape[:2] != values.shape:
            pair = " and ".join(str(file) for file in self._pairs[index])
            raise ValueError(f"{pair} are not of one size: {image.shape[:2]} and {values.shape}")
        targets = [segment for segment in self._segments(values) if not segment.is_crowd]
        id_of_value = np.zeros(2**16, np.int32)
        id_of_value[[segment.id for segment in targets]] = np.arange(1, len(targets) + 1)
        labels = [segment.label for segment in targets]
        name = self.file(index).relative_to(self._root).as_posix()
        return as_sample(image[None], id_of_value[values][None, None], labels, name)

    def class_map(self, index: int) -> np.ndarray:
        return self._label_of_value[self._read_values(index)]

    def truth(self, index: int) -> Truth:
        values = self._read_values(index)
        segments = self._segments(values)
        semantic = self._label_of_value[values]
        things = [
            TrueInstance(rle.encode(values == s.id), s.label, s.area, s.is_crowd)
            for s in segments
            if self.categories[s.label].is_thing
        ]
        return Truth(
            values.shape,
            semantic=semantic,
            instances=things,
            panoptic=np.where(semantic == IGNORE, 0, values).astype(np.int32),
            segments=segments,
            void=self._is_void[values],
        )

    def _read_values(self, index: int) -> np.ndarray:
        return read_label_map(self._pairs[index][1])

    def _segments(self, values: np.ndarray) -> list[TrueSegment]:
        """What a map shows of the categories, by value."""
        areas = np.bincount(values.ravel())
        segments = []
        for value in np.flatnonzero(areas).tolist():
            label = int(self._label_of_value[value])
            if label != IGNORE:
                is_crowd = value < PER_CLASS and self.categories[label].is_thing
                segments.append(TrueSegment(value, label, int(areas[value]), is_crowd))
        return segments


def _check_numbers(categories: Categories, official: Categories) -> None:
    """Raise a ValueError where a class list numbers Cityscapes' classes otherwise than its maps."""
    id_of = {category.name: category.id for category in official}
    for category in categories:
        wanted = id_of.get(category.name, category.id)
        if category.id != wanted:
            raise ValueError(
                f"data.classes gives '{category.name}' the id {category.id}, but Cityscapes' maps "
                f"have {wanted}; leave data.classes out (null), or choose a bundled list"
            )
