"""Panoptic maps: confident queries share the pixels out among themselves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mask2former.postprocess.tiles import SLACK, cut, first_largest
from mask2former.structures import Panoptic, Prediction, Segment, Sizes


def panoptic(
    prediction: Prediction,
    sizes: Sizes,
    *,
    is_thing: Tensor,
    threshold: float = 0.8,
    overlap_threshold: float = 0.8,
) -> Panoptic:
    """Official rules (MaskFormer, section 3.4): keep confident queries, argmax, drop the hidden.

    A pixel belongs to the query with the largest score x probability, if that probability is at
    least 0.5; a segment that keeps less than `overlap_threshold` of its own mask is dropped; stuff
    of one class is one segment. Takes one picture or clip (batch of 1); `is_thing` (K,) bool.
    """
    scores, labels = prediction.class_logits[0].float().softmax(-1).max(-1)
    no_object = prediction.class_logits.shape[-1] - 1
    keep = (labels != no_object) & (scores > threshold)
    scores, labels = scores[keep], labels[keep]
    owner, assigned, own, final = _share_out(prediction, keep.nonzero()[:, 0], scores, sizes)
    # In fp64, as the official rule counts.
    alive = (final > 0) & (assigned / own.clip(min=1) >= overlap_threshold)
    ids = np.zeros(scores.shape[0] + 1, np.int32)  # of every owner; the last is nobody
    segments: list[Segment] = []
    stuff: dict[int, int] = {}  # label -> position in segments
    things, labels, scores = is_thing.tolist(), labels.tolist(), scores.tolist()
    for query in np.flatnonzero(alive).tolist():
        label, area = labels[query], int(final[query])
        if not things[label] and label in stuff:
            first = segments[stuff[label]]
            segments[stuff[label]] = first._replace(area=first.area + area)
            ids[query] = first.id
            continue
        ids[query] = len(segments) + 1
        stuff.setdefault(label, len(segments))
        segments.append(Segment(len(segments) + 1, label, scores[query], area, things[label]))
    return Panoptic(np.stack([ids[frame] for frame in owner]), segments)


def _share_out(
    prediction: Prediction, queries: Tensor, scores: Tensor, sizes: Sizes
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel's sure owner (T, H, W), a position in `queries` or their number for nobody.

    And the pixels (Q,) that every query was assigned, has in its own mask, and has in both.
    """
    count = queries.shape[0]
    frames = prediction.mask_features.shape[1]
    owner = np.full((frames, *sizes.original), count, np.int16)
    assigned, own, final = queries.new_zeros(3, count)
    for strip in cut(prediction, sizes, queries=queries) if count else ():
        for tile in strip.tiles():
            low, high = tile.bounds()
            hidden = scores * high < (scores * low).max() - SLACK
            some = (~hidden | (high > 0.5 - SLACK)).nonzero()[:, 0]
            probability = tile.logits(some).sigmoid_()
            on = probability >= 0.5
            own[some] += on.sum((1, 2))
            index = first_largest(probability.mul_(scores[some, None, None]))
            sure = on.gather(0, index[None])[0]
            index = some[index]
            assigned += torch.bincount(index.flatten(), minlength=count)
            final += torch.bincount(index[sure], minlength=count)
            place = strip.frame, tile.rows.picture, tile.columns.picture
            owner[place] = index.masked_fill_(~sure, count).cpu().numpy()
    return owner, assigned.cpu().numpy(), own.cpu().numpy(), final.cpu().numpy()
