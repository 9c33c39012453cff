"""Semantic segmentation of any data set: the class of every pixel, one target a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mask2former.data.dataset import Dataset, as_sample
from mask2former.structures import IGNORE, Sample, Truth


class ClassMaps(Dataset):
    """A data set of objects and segments whose regions are joined: one for each class.

    Crowds are of their class too, in training as in measuring.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.categories = dataset.categories
        self.notes = dataset.notes
        self.is_labelled = dataset.is_labelled
        self.varies = dataset.varies

    def __len__(self) -> int:
        return len(self.dataset)

    def file(self, index: int) -> Path | str:
        return self.dataset.file(index)

    def image(self, index: int) -> np.ndarray:
        return self.dataset.image(index)

    def class_map(self, index: int) -> np.ndarray:
        return self.dataset.class_map(index)

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


def number_classes(labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels (H, W) as ids 1, 2, ... of the classes that occur, int32, and these classes."""
    counts = np.bincount(labels.ravel() - IGNORE, minlength=classes - IGNORE)
    present = np.flatnonzero(counts[-IGNORE:])
    id_of_label = np.zeros(classes + 1, np.int32)  # the last is for IGNORE, -1
    id_of_label[present] = np.arange(1, len(present) + 1)
    return id_of_label[labels], present
