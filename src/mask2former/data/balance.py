"""Rare classes: how often pictures are drawn, and how much objects weigh, to make up for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mask2former.data.dataset import Dataset

LARGEST_RATIO = 10.0
"""No class weighs more than so many times another: a few examples would rule the loss."""


def read_labels(dataset: Dataset) -> list[list[int]]:
    """The labels of every picture, object by object."""
    return [dataset.labels(index) for index in range(len(dataset))]


def count_objects(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """How many objects there are of every class: (K,)."""
    return np.bincount([label for picture in labels for label in picture], minlength=classes)


def share_of_pictures(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """The part of the pictures that show each class: (K,)."""
    return count_objects([tuple(set(picture)) for picture in labels], classes) / len(labels)


def repeat_factors(labels: Sequence[Sequence[int]], classes: int, threshold: float) -> np.ndarray:
    """How often each picture is drawn in an epoch, on average: (pictures,), 1 or more.

    A class that a share f of the pictures shows asks for max(1, sqrt(threshold / f)), and a picture
    follows the rarest of its classes (LVIS: Gupta et al., CVPR 2019, section 5.2).
    """
    shares = share_of_pictures(labels, classes)
    factors = np.maximum(1.0, np.sqrt(threshold / np.maximum(shares, 1e-9)))
    return np.array([max((factors[label] for label in picture), default=1.0) for picture in labels])


def balancing_weights(counts: np.ndarray) -> np.ndarray:
    """A weight for every class, by the inverse root of its count: (K,).

    The mean over all objects is 1, so that objects keep their weight against no-object.
    """
    ratios = np.sqrt(counts.max(initial=1) / np.maximum(counts, 1)).clip(max=LARGEST_RATIO)
    return ratios / np.average(ratios, weights=counts) if counts.any() else np.ones(len(counts))
