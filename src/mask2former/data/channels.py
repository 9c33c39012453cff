"""What the channels of a training set's pictures are like."""

from __future__ import annotations

import numpy as np

from mask2former.data.dataset import Dataset

LOOKED_AT = 1000
"""Pictures that are read, spread evenly over the set."""


def measure_channels(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in one pass; a constant one deviates by 1."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for index in range(0, len(dataset), max(1, -(-len(dataset) // LOOKED_AT))):
        pixels = dataset.image(index)
        values = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)
        count += values.shape[0]
        total = total + values.sum(0)
        squares = squares + (values**2).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    deviation = np.where(deviation > 0, deviation, 1)
    # Six digits are enough, and can be read in the settings.
    return _rounded(mean), _rounded(deviation)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
