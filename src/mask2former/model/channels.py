"""First layers for pictures of other channels than those they were trained on."""

from __future__ import annotations

import torch
from torch import Tensor


def fit_channels(given: Tensor, own: Tensor) -> Tensor:
    """Widen or narrow a convolution (out, in, h, w) that differs from `own` in its inputs alone.

    Further channels get the mean of the known ones, fewer get it too; and all are scaled so that a
    picture that is alike in all channels gives the same response as before. Other tensors stay.
    """
    if given.ndim != 4 or own.ndim != 4 or given.shape[1] == own.shape[1]:
        return given
    if given.shape[0] != own.shape[0] or given.shape[2:] != own.shape[2:]:
        return given
    old, new = given.shape[1], own.shape[1]
    mean = given.mean(1, keepdim=True)
    if new < old:
        return mean.expand(-1, new, -1, -1) * (old / new)
    return torch.cat([given, mean.expand(-1, new - old, -1, -1)], 1) * (old / new)
