"""Semantic maps: every pixel takes the class with the largest sum of class x mask probability.

Masks and class scores are made for a strip of rows at a time, so that neither many classes nor many
queries nor a large picture need much memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mask2former.masks import resize
from mask2former.structures import Prediction, SemanticMap, Sizes

STRIP_PIXELS = 4_000_000
"""How many pixels of masks or class scores are made at a time (four bytes each)."""

Restore = Callable[[Tensor], Tensor]
"""Maps at the input's size -> at the picture's."""
Score = Callable[[Tensor, Tensor, Restore], Tensor]
"""Class probabilities (Q, K) and mask logits (Q, rows, W) -> class scores of the picture."""


class View(NamedTuple):
    """What the network says of a picture at some size; `turn` undoes how it was shown (a flip)."""

    prediction: Prediction
    sizes: Sizes
    turn: Callable[[Tensor], Tensor]


def resize_scores(classes: Tensor, masks: Tensor, restore: Restore) -> Tensor:
    """Official rule for models trained on semantic maps: class scores are made, then resized."""
    return restore(_vote(classes, masks))


def resize_masks(classes: Tensor, masks: Tensor, restore: Restore) -> Tensor:
    """Official rule for panoptic and instance models: masks are resized, then class scores made."""
    return _vote(classes, restore(masks))


def _vote(classes: Tensor, masks: Tensor) -> Tensor:
    return torch.einsum("qk,qrw->krw", classes, masks.sigmoid())


def semantic_map(prediction: Prediction, sizes: Sizes, score: Score) -> SemanticMap:
    """The best class of every pixel, by one of the two rules, for one picture or clip (batch 1)."""
    frames = prediction.mask_features.shape[1]
    labels = np.empty((frames, *sizes.original), np.int16)
    for frame, rows, scores in _score_strips(prediction, sizes, score):
        labels[frame, rows] = scores.argmax(0).to(torch.int16).cpu().numpy()
    return SemanticMap(labels)


def semantic_map_of_views(views: Iterable[View], score: Score) -> SemanticMap:
    """The class with the best mean score over several views of one picture.

    All scores (K, H, W) are in memory at a time; the views come one by one.
    """
    total = torch.zeros(())
    for prediction, sizes, turn in views:
        if total.ndim == 0:
            classes, frames = (
                prediction.class_logits.shape[2] - 1,
                prediction.mask_features.shape[1],
            )
            total = prediction.mask_features.new_zeros(frames, classes, *sizes.original).float()
        for frame, rows, scores in _score_strips(prediction, sizes, score):
            total[frame, :, rows] += turn(scores)
    return SemanticMap(total.argmax(1).to(torch.int16).cpu().numpy())


def _score_strips(
    prediction: Prediction, sizes: Sizes, score: Score
) -> Iterator[tuple[int, slice, Tensor]]:
    """Class scores (K, rows, W) of some rows of a frame after the other."""
    classes = prediction.class_logits[0].float().softmax(-1)[:, :-1]  # (Q, K)
    embeddings = prediction.mask_embeddings[0].float()
    features = prediction.mask_features[0].float()  # (T, C, h, w)
    height, width = sizes.original
    row = max(classes.shape) * max(width, 4 * features.shape[3])
    step = max(1, int(STRIP_PIXELS / row * min(1.0, height / sizes.network[0])))
    for first in range(0, height, step):
        last = min(first + step, height)
        strip = Strip.of(first, last, sizes, features.shape[2])
        for frame, maps in enumerate(features):
            scores = score(classes, strip.masks(embeddings, maps), strip.restore)
            yield frame, slice(first, last), scores


class Strip(NamedTuple):
    """Some rows of the picture, and how they come from the rows of the two smaller sizes."""

    sizes: Sizes
    from_features: Rows
    from_input: Rows

    @classmethod
    def of(cls, first: int, last: int, sizes: Sizes, feature_rows: int) -> Strip:
        """The rows `first`..`last - 1` of the picture."""
        from_input = Rows.of(first, last, sizes.network[0], sizes.original[0])
        from_features = Rows.of(
            from_input.first, from_input.last + 1, feature_rows, 4 * feature_rows
        )
        return cls(sizes, from_features, from_input)

    def masks(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Mask logits at the input's size: (Q, C) and (C, h, w) -> (Q, the rows needed, W)."""
        needed = features[:, self.from_features.first : self.from_features.last + 1]
        rows = self.from_features.blend(torch.einsum("qc,chw->qhw", embeddings, needed))
        return resize(rows, (rows.shape[1], 4 * rows.shape[2]))[..., : self.sizes.network[1]]

    def restore(self, maps: Tensor) -> Tensor:
        """Maps of the input's size, as `masks` gives them -> these rows of the picture."""
        rows = self.from_input.blend(maps)
        return resize(rows, (rows.shape[1], self.sizes.original[1]))


class Rows(NamedTuple):
    """Some rows of a map that is resized bilinearly, and the rows of the old map they blend."""

    upper: Tensor
    lower: Tensor
    share: Tensor  # of the lower one

    @classmethod
    def of(cls, first: int, last: int, old: int, new: int) -> Rows:
        """The rows `first`..`last - 1` of `new`, placed among the `old` as F.interpolate does."""
        rows = torch.arange(first, last, dtype=torch.float32)
        places = ((rows + 0.5) * (old / new) - 0.5).clamp(min=0)
        upper = places.long()
        return cls(upper, (upper + 1).clamp(max=old - 1), places - upper)

    @property
    def first(self) -> int:
        """The first row of the old map that is read."""
        return int(self.upper[0])

    @property
    def last(self) -> int:
        """The last row of the old map that is read."""
        return int(self.lower[-1])

    def blend(self, maps: Tensor) -> Tensor:
        """Take the old rows from `first` to `last` (N, rows, W) and give the new ones."""
        upper, lower = (maps[:, (rows - self.first).to(maps.device)] for rows in self[:2])
        return upper.lerp_(lower, self.share[:, None].to(maps.device))
