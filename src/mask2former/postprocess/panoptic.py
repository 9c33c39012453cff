"""Panoptic maps: confident queries share the pixels out among themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from mask2former.masks import make_pixels
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
    owner, own_area, inside = _share_out(
        prediction.mask_embeddings[0, keep].float(),
        prediction.mask_features[0].float(),
        scores,
        sizes,
    )
    count = scores.shape[0]
    mask_area = torch.bincount(owner.flatten(), minlength=count)
    final_area = torch.bincount(owner[inside], minlength=count).cpu()
    # On the host, in fp64 as the official rule counts: there are few queries left.
    kept_share = mask_area.cpu().double() / own_area.cpu()
    alive = (final_area > 0) & (kept_share >= overlap_threshold)
    ids = torch.zeros(count + 1, dtype=torch.int32)
    segments: list[Segment] = []
    stuff: dict[int, int] = {}  # label -> position in segments
    things, labels, scores = is_thing.tolist(), labels.tolist(), scores.tolist()
    for query in alive.nonzero()[:, 0].tolist():
        label, area = labels[query], int(final_area[query])
        if not things[label] and label in stuff:
            first = segments[stuff[label]]
            segments[stuff[label]] = first._replace(area=first.area + area)
            ids[query] = first.id
            continue
        ids[query] = len(segments) + 1
        stuff.setdefault(label, len(segments))
        segments.append(Segment(len(segments) + 1, label, scores[query], area, things[label]))
    owner = owner.masked_fill(~inside, count).cpu()
    return Panoptic(ids[owner].numpy(), segments)


def _share_out(
    embeddings: Tensor, features: Tensor, scores: Tensor, sizes: Sizes
) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel's owner (T, H, W), every query's own area (Q,), and where owners are sure."""
    shape = (features.shape[0], *sizes.original)
    best = features.new_full(shape, -1.0)
    owner = torch.zeros(shape, dtype=torch.int64, device=features.device)
    inside = torch.zeros(shape, dtype=torch.bool, device=features.device)
    areas = []
    for queries, logits in make_pixels(embeddings, features, sizes):
        probability = logits.sigmoid()
        on = probability >= 0.5
        areas.append(on.flatten(1).sum(1))
        top, index = (probability * scores[queries, None, None, None]).max(0)
        better = top > best
        best = torch.where(better, top, best)
        owner = torch.where(better, index + queries.start, owner)
        inside = torch.where(better, on.gather(0, index[None])[0], inside)
    own_area = torch.cat(areas) if areas else owner.new_zeros(0)
    return owner, own_area, inside
