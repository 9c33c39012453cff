"""Which query answers for which object: the cheapest one-to-one assignment (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from mask2former.loss.mask_loss import MaskLoss, cross_entropy, dice
from mask2former.loss.sampling import RandomPoints, Sampler
from mask2former.masks import sample, sample_all_ids
from mask2former.structures import Match, Prediction, Targets

VALUES = 2**22
"""Mask logits that are compared at a time."""


@dataclass(frozen=True)
class Matcher:
    """Matches every prediction of every picture to its objects.

    The points are drawn once per picture and shared by all queries, objects and predictions; every
    frame of a clip is sampled at the same ones. `mask_features` are sampled there once, and each
    prediction's masks follow by one product.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    sampler: Sampler = field(default_factory=RandomPoints)
    mask_loss: MaskLoss = cross_entropy

    @torch.no_grad()
    def __call__(
        self,
        predictions: Sequence[Prediction],
        targets: Sequence[Targets],
        generators: Sequence[Generator | None],
    ) -> list[list[Match]]:
        """One match per prediction and picture: `matches[prediction][picture]`."""
        costs = [
            self.costs(predictions, picture, target, generator)
            for picture, (target, generator) in enumerate(zip(targets, generators, strict=True))
        ]
        # All costs go to the host in one copy: assignment is no work for an accelerator.
        flat = torch.cat([cost.flatten() for cost in costs]).cpu()
        parts = flat.split([cost.numel() for cost in costs])
        if not torch.isfinite(flat).all():
            by_layer = [part.view(len(predictions), -1).isfinite().all(1) for part in parts]
            bad = (~torch.stack(by_layer).all(0)).nonzero()[:, 0].tolist()
            raise FloatingPointError(
                f"the matching costs (class, mask, dice) of predictions {bad} are not finite"
            )
        solved = [
            [assign(layer) for layer in part.view(cost.shape)]
            for part, cost in zip(parts, costs, strict=True)
        ]
        return [list(pictures) for pictures in zip(*solved, strict=True)]

    def costs(
        self,
        predictions: Sequence[Prediction],
        picture: int,
        target: Targets,
        generator: Generator | None,
    ) -> Tensor:
        """The cost of every pair of one picture, for all L predictions: (L, Q, N), in fp32."""
        features = predictions[0].mask_features[picture].float()  # (T, C, h, w)
        frames, height, width = target.ids.shape[1:]
        points = self.sampler(features[:1, 0], (height, width), generator)  # (1, P, 2)
        sampled = sample(features, points.expand(frames, -1, -1))  # (T, C, P)
        truth = torch.cat(
            [
                sample_all_ids(target.ids[:, frame], target.labels.shape[0], points[0])
                for frame in range(frames)
            ],
            dim=1,
        )  # (N, T * P)
        embeddings = torch.stack([p.mask_embeddings[picture] for p in predictions]).float()
        sampled = sampled.transpose(0, 1).flatten(1)  # (C, T * P)
        at_once = max(1, VALUES // (embeddings.shape[1] * sampled.shape[1]))
        masks = [self.mask_costs(part @ sampled, truth) for part in embeddings.split(at_once)]
        classes = torch.stack([p.class_logits[picture] for p in predictions]).float().softmax(-1)
        return torch.cat(masks) - self.class_weight * classes[..., target.labels]

    def mask_costs(self, logits: Tensor, truth: Tensor) -> Tensor:
        """(L, Q, P) and (N, P) -> (L, Q, N)."""
        mask = self.mask_weight * self.mask_loss.pairwise(logits, truth)
        return mask + self.dice_weight * dice.pairwise(logits, truth)


def assign(cost: Tensor) -> Match:
    """The cheapest assignment of a (Q, N) cost: min(Q, N) pairs."""
    queries, objects = linear_sum_assignment(cost.numpy())
    return Match(torch.from_numpy(queries), torch.from_numpy(objects))
