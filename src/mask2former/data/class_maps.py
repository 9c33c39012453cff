"""Semantic segmentation of any data set: the class of every pixel, one target a class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mask2former import rle
from mask2former.categories import Categories, Category, Task
from mask2former.data.dataset import Dataset, View, as_sample
from mask2former.structures import IGNORE, Sample, Truth

BACKGROUNDS = frozenset({"background", "_background_"})
"""Names of the class of pixels that nothing else is at."""
BLACK = (0, 0, 0)


class ClassMaps(View):
    """A data set of objects and segments whose regions are joined: one for each class.

    Crowds are of their class too, in training as in measuring.
    """

    def sample(self, index: int) -> Sample:
        image, labels = self.image(index), self.class_map(index)
        file = self.file(index)
        if image.shape[:2] != labels.shape:
            self.dataset.sample(index)  # its sentence names the annotation too
            raise ValueError(
                f"{file} and its annotation are not of one size: {image.shape[:2]} and "
                f"{labels.shape}"
            )
        ids, present = number_classes(labels, len(self.categories))
        return as_sample(image[None], ids[None, None], present, Path(file).name)

    def truth(self, index: int) -> Truth:
        labels = self.class_map(index)
        return Truth(labels.shape, semantic=labels)

    def labels(self, index: int) -> list[int]:
        return [label for label in np.unique(self.class_map(index)).tolist() if label != IGNORE]


class PaintedObjects(ClassMaps):
    """Objects as maps of classes: where they overlap the smaller one is on top.

    Pixels of no object are of the class `background`, which comes first where the data names none
    of its own; or nobody's (`void`). `wanted` gives the order of the labels (a trained model's).
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        background: Literal["class", "void"],
        wanted: Categories | None = None,
    ) -> None:
        super().__init__(dataset)
        own = dataset.categories
        rest = find_background(own) or new_background(own, find_background(wanted or ()))
        others = [category for category in own if category != rest]
        match background:
            case "void":
                known = Categories(others)
            case "class" if rest in own:
                known = Categories(replace(k, is_thing=k != rest and k.is_thing) for k in own)
            case "class":
                known = Categories([rest, *others])
        self.categories = known if wanted is None else known.in_order_of(wanted)
        label_of = {name: label for label, name in enumerate(self.categories.names)}
        self._label_of = [label_of.get(name, IGNORE) for name in own.names]
        self._rest = label_of[rest.name] if background == "class" else IGNORE

    def class_map(self, index: int) -> np.ndarray:
        truth = self.dataset.truth(index)
        labels = np.full(truth.size, self._rest, np.int16)
        for found in sorted(truth.instances or (), key=lambda found: -rle.area(found.rle)):
            left, top, width, height = (int(side) for side in rle.box(found.rle))
            window = np.s_[top : top + height, left : left + width]
            labels[window][rle.decode(found.rle)[window]] = self._label_of[found.label]
        return labels


def find_background(categories: Iterable[Category]) -> Category | None:
    """The class whose name says that it is the background."""
    return next((one for one in categories if one.name.lower() in BACKGROUNDS), None)


def without_background(categories: Categories | None) -> Categories | None:
    """The classes that objects are of."""
    if categories is None or (rest := find_background(categories)) is None:
        return categories
    return Categories(category for category in categories if category != rest)


def new_background(categories: Categories, like: Category | None) -> Category:
    """A class for pixels of no object, with an id that is free, as a model has it if it may."""
    name, number = ("background", 0) if like is None else (like.name, like.id)
    if number in categories.label_of:
        number = max(categories.label_of) + 1
    return Category(number, name, BLACK, is_thing=False)


def warn_of_one_class(task: Task, names: Sequence[str]) -> list[str]:
    """A sentence where a semantic map has one class alone, which needs no model."""
    if task != "semantic" or len(names) != 1:
        return []
    sentence = (
        f"'{names[0]}' is the only class in the training pictures: to answer it everywhere is an "
        "mIoU of 1, and nothing is learnt; annotate another one, or make the other pixels a class "
        "by data.background=class"
    )
    return [sentence]


def number_classes(labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels (H, W) as ids 1, 2, ... of the classes that occur, int32, and these classes."""
    counts = np.bincount(labels.ravel() - IGNORE, minlength=classes - IGNORE)
    present = np.flatnonzero(counts[-IGNORE:])
    id_of_label = np.zeros(classes + 1, np.int32)  # the last is for IGNORE, -1
    id_of_label[present] = np.arange(1, len(present) + 1)
    return id_of_label[labels], present
