"""Semantic maps: every pixel takes the class with the largest sum of class x mask probability."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mask2former.postprocess.tiles import SLACK, Tile, cut, first_largest
from mask2former.structures import Prediction, SemanticMap, Sizes

Score = Callable[[Tensor, Tile], Tensor]
"""Class probabilities (Q, K) and the masks of a tile -> the tile's class scores (K, rows, W)."""


class View(NamedTuple):
    """What the network says of a picture at some size; `turn` undoes how it was shown (a flip)."""

    prediction: Prediction
    sizes: Sizes
    turn: Callable[[Tensor], Tensor]


def resize_scores(classes: Tensor, tile: Tile) -> Tensor:
    """Official rule for models trained on semantic maps: class scores are made, then resized."""
    return tile.restore(_vote(classes, tile.input_logits()))


def resize_masks(classes: Tensor, tile: Tile) -> Tensor:
    """Official rule for panoptic and instance models: masks are resized, then class scores made."""
    return _vote(classes, tile.logits())


def _vote(classes: Tensor, masks: Tensor) -> Tensor:
    return (classes.T @ masks.sigmoid_().flatten(1)).unflatten(1, masks.shape[1:])


def semantic_map(prediction: Prediction, sizes: Sizes, score: Score) -> SemanticMap:
    """The best class of every pixel, by one of the two rules, for one picture or clip (batch 1)."""
    classes = _class_probabilities(prediction)
    slack = SLACK * classes.sum(0).max()
    labels = np.empty((prediction.mask_features.shape[1], *sizes.original), np.int16)
    for strip in cut(prediction, sizes):
        for tile in strip.tiles():
            low, high = (classes.T @ bound for bound in tile.bounds())
            some = (~(high < low.max() - slack)).nonzero()[:, 0]
            best = some[first_largest(score(classes[:, some], tile))]
            labels[strip.frame, tile.rows.picture, tile.columns.picture] = best.cpu().numpy()
    return SemanticMap(labels)


def semantic_map_of_views(views: Iterable[View], score: Score) -> SemanticMap:
    """The class with the best mean score over several views of one picture.

    All scores (K, H, W) are in memory at a time; the views come one by one.
    """
    total = torch.zeros(())
    for prediction, sizes, turn in views:
        classes = _class_probabilities(prediction)
        if total.ndim == 0:
            frames, labels = prediction.mask_features.shape[1], classes.shape[1]
            total = classes.new_zeros(frames, labels, *sizes.original)
        for strip in cut(prediction, sizes, maps=classes.shape[1]):
            scores = torch.cat([score(classes, tile) for tile in strip.tiles()], dim=-1)
            total[strip.frame, :, strip.rows.picture] += turn(scores)
    return SemanticMap(total.argmax(1).to(torch.int16).cpu().numpy())


def _class_probabilities(prediction: Prediction) -> Tensor:
    """(Q, K), without no-object."""
    return prediction.class_logits[0].float().softmax(-1)[:, :-1]
