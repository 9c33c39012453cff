"""Post-processing inside the graph: results at the size of the network's input, in fixed counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mask2former.card import ModelCard
from mask2former.config import Task
from mask2former.masks import resize
from mask2former.structures import Prediction

RESULTS = {
    "instance": ("scores", "labels", "masks"),
    "semantic": ("labels",),
    "panoptic": ("segments", "labels", "scores"),
}
"""The outputs of each task's graph, in turn."""
MASK_STRIDE = 4


@dataclass(frozen=True)
class Rule:
    """The official rule of a task, for pictures, as `mask2former.postprocess` has it."""

    task: Task
    is_thing: tuple[bool, ...]
    max_detections: int
    threshold: float
    overlap_threshold: float

    @classmethod
    def of_card(cls, card: ModelCard) -> Rule:
        """The rule of a model's own task and settings."""
        test = card.config.test
        return cls(
            test.task,
            tuple(card.categories.is_thing),
            test.max_detections,
            test.threshold,
            test.overlap_threshold,
        )

    def __call__(self, prediction: Prediction) -> tuple[Tensor, ...]:
        """The outputs that `RESULTS` names."""
        match self.task:
            case "semantic":
                return (label_map(prediction),)
            case "instance":
                return best_masks(prediction, self.is_thing, self.max_detections)
            case "panoptic":
                return segments(prediction, self.is_thing, self.threshold, self.overlap_threshold)


def label_map(prediction: Prediction) -> Tensor:
    """The likeliest class of each pixel: (B, H, W) int32."""
    classes = prediction.class_logits.softmax(-1)[..., :-1].transpose(1, 2)  # (B, K, Q)
    masks = mask_logits(prediction).sigmoid()
    return (classes @ masks.flatten(2)).argmax(1).unflatten(-1, masks.shape[-2:]).int()


def best_masks(
    prediction: Prediction, is_thing: tuple[bool, ...], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` best pairs of query and class: scores (B, N), labels (B, N), masks (B, N, H, W).

    Sorted by score. Pairs that are of no thing, or that there are not, have the score 0.
    """
    classes = prediction.class_logits.softmax(-1)[..., :-1]
    things = torch.tensor(is_thing, device=classes.device)
    kinds, queries = classes.shape[2], classes.shape[1]
    scores, flat = F.pad(classes.flatten(1), (0, count)).topk(count)
    labels, query = flat % kinds, (flat // kinds).clamp(max=queries - 1)
    embeddings = prediction.mask_embeddings
    chosen = embeddings.gather(1, query[..., None].expand(-1, -1, embeddings.shape[2]))
    logits = mask_logits(prediction._replace(mask_embeddings=chosen))
    on = logits > 0
    inside = (logits.sigmoid() * on).sum((2, 3)) / on.sum((2, 3)).clamp(min=1)
    scores, order = (scores * inside * things[labels]).sort(descending=True)
    masks = on.gather(1, order[..., None, None].expand(-1, -1, *on.shape[2:]))
    return scores, labels.gather(1, order).int(), masks


def segments(
    prediction: Prediction, is_thing: tuple[bool, ...], threshold: float, overlap_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A panoptic map (B, H, W) int32, 0 = void, and each segment's label and score (B, Q).

    Segment i has its label and score at place i - 1; where there is none the score is 0.
    """
    scores, labels = prediction.class_logits.softmax(-1).max(-1)
    nothing = prediction.class_logits.shape[-1] - 1
    keep = (labels != nothing) & (scores > threshold)  # (B, Q)
    masks = mask_logits(prediction).sigmoid()
    owner = torch.where(keep, scores, -1.0)[..., None, None].mul(masks).argmax(1, keepdim=True)
    numbers = torch.arange(scores.shape[1], device=scores.device)
    mine, on = owner == numbers[:, None, None], masks >= 0.5
    assigned, own = mine.sum((2, 3)), on.sum((2, 3))
    final = (mine & on).sum((2, 3))
    alive = keep & (final > 0) & (assigned >= overlap_threshold * own)
    things = torch.tensor([*is_thing, True], device=scores.device)[labels]
    # Stuff of one class is one segment, which bears the number of its first query.
    same = (labels[:, :, None] == labels[:, None]) & alive[:, None] & ~things[:, :, None]
    first = same.int().argmax(-1)
    number = torch.where(alive, torch.where(things, numbers, first) + 1, 0)  # (B, Q)
    owned = number.gather(1, owner.flatten(1)).unflatten(1, owner.shape[2:])
    found = torch.where(masks.gather(1, owner).squeeze(1) >= 0.5, owned, 0)
    here = number == numbers + 1
    return found.int(), labels.int(), torch.where(here, scores, 0.0)


def mask_logits(prediction: Prediction) -> Tensor:
    """The masks at the size of the network's input: (B, Q, H, W)."""
    logits = prediction.mask_logits()[:, :, 0]
    height, width = logits.shape[-2:]
    return resize(logits, (MASK_STRIDE * height, MASK_STRIDE * width))
