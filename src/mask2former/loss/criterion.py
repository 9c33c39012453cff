"""The set loss: match, then supervise classes and masks after every decoder layer (section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mask2former.loss.mask_loss import MaskLoss, cross_entropy, dice
from mask2former.loss.matcher import Matcher
from mask2former.loss.sampling import Sampler, UncertainPoints
from mask2former.masks import sample, sample_ids
from mask2former.structures import Match, Prediction, Targets


class Normalisers(NamedTuple):
    """What the sums are divided by. They add up over micro-batches and processes."""

    masks: float | Tensor  # objects
    classes: float | Tensor  # weight of all queries in the class loss


class Pairs(NamedTuple):
    """The matched (query, object) pairs of one picture, over all predictions."""

    layers: Tensor  # (M,)
    queries: Tensor  # (M,)
    objects: Tensor  # (M,) positions in labels; the id is one more


@dataclass(frozen=True)
class Criterion:
    """Deep supervision of all predictions at once.

    Prediction i < last logs its terms as `loss_ce_i`, `loss_mask_i`, `loss_dice_i`; the last one
    without a number. `supervise_queries = False` leaves the first prediction out (table X).
    """

    matcher: Matcher = field(default_factory=Matcher)
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    object_weights: Tensor | None = None  # (K,) of the classes in the class loss; None: 1 each
    sampler: Sampler = field(default_factory=UncertainPoints)
    mask_loss: MaskLoss = cross_entropy
    supervise_queries: bool = True

    def __call__(
        self,
        predictions: Sequence[Prediction],
        targets: Sequence[Targets],
        normalisers: Normalisers | None = None,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Every term, weighted: their sum is the loss.

        `seeds` key the random points of each picture; without them the global generator draws.
        """
        names = [f"_{i}" for i in range(len(predictions) - 1)] + [""]
        if not self.supervise_queries:
            predictions, names = predictions[1:], names[1:]
        queries = predictions[0].class_logits.shape[1]
        normalisers = normalisers or self.normalisers(targets, queries)
        device = predictions[0].class_logits.device
        generators = make_generators(seeds, len(targets), device)
        with torch.autocast(device.type, enabled=False):  # fp32, whatever the network computed in
            matches = self.matcher(predictions, targets, generators)
            pairs = [gather_pairs(layers, device) for layers in zip(*matches, strict=True)]
            ce = self.class_terms(predictions, targets, pairs) / at_least(normalisers.classes, 1e-6)
            mask, dice_ = self.mask_terms(predictions, targets, pairs, generators)
        masks = at_least(normalisers.masks, 1.0)
        terms = {}
        for layer, name in enumerate(names):
            terms[f"loss_ce{name}"] = self.class_weight * ce[layer]
            terms[f"loss_mask{name}"] = self.mask_weight * mask[layer] / masks
            terms[f"loss_dice{name}"] = self.dice_weight * dice_[layer] / masks
        return terms

    def pilot_terms(
        self,
        pilots: Sequence[Sequence[Prediction]],
        targets: Sequence[Targets],
        normalisers: Normalisers,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """The same terms for pilots (`model.pilots`), of which i is of object i; layers summed.

        The class loss is divided by the number of objects, as there are no others.
        """
        device = targets[0].labels.device
        totals = torch.zeros(3, device=device)
        generators = make_generators(seeds, len(targets), device)
        with torch.autocast(device.type, enabled=False):
            for predictions, target, generator in zip(pilots, targets, generators, strict=True):
                if not predictions:
                    continue
                count = target.labels.shape[0]
                own = torch.arange(count, device=device)
                layers = torch.arange(len(predictions), device=device).repeat_interleave(count)
                pairs = [Pairs(layers, *[own.repeat(len(predictions))] * 2)]
                ce = self.class_terms(predictions, [target], pairs)
                masks = self.mask_terms(predictions, [target], pairs, [generator])
                totals = totals + torch.stack([ce.sum(), *(term.sum() for term in masks)])
        ce, mask, dice_ = totals / at_least(normalisers.masks, 1.0)
        return {
            "loss_ce_pilots": self.class_weight * ce,
            "loss_mask_pilots": self.mask_weight * mask,
            "loss_dice_pilots": self.dice_weight * dice_,
        }

    def to(self, device: torch.device) -> Criterion:
        """The same with its weights on a device."""
        weights = self.object_weights
        return replace(self, object_weights=None if weights is None else weights.to(device))

    def normalisers(self, targets: Sequence[Targets], queries: int) -> Normalisers:
        """The divisors of these targets alone."""
        counts = [target.labels.shape[0] for target in targets]
        matched = sum(min(count, queries) for count in counts)
        unmatched = queries * len(counts) - matched
        return Normalisers(
            float(sum(counts)),
            self.weigh_objects(targets, queries) + self.no_object_weight * unmatched,
        )

    def weigh_objects(self, targets: Sequence[Targets], queries: int) -> float | Tensor:
        """What the matched objects weigh in the class loss.

        Of more objects than queries as many as there are queries count, at their mean weight: the
        matching is not known here, and must not be, or processes would have to wait for it.
        """
        if self.object_weights is None:
            return sum(min(target.labels.shape[0], queries) for target in targets)
        shares = [min(1.0, queries / max(target.labels.shape[0], 1)) for target in targets]
        weights = [self.object_weights[target.labels].sum() for target in targets]
        return torch.stack([w * share for w, share in zip(weights, shares, strict=True)]).sum()

    def class_terms(
        self,
        predictions: Sequence[Prediction],
        targets: Sequence[Targets],
        pairs: Sequence[Pairs],
    ) -> Tensor:
        """The summed, class-weighted cross-entropy of every prediction: (L,)."""
        logits = torch.stack([p.class_logits for p in predictions]).float()  # (L, B, Q, K + 1)
        no_object = logits.shape[-1] - 1
        wanted = logits.new_full(logits.shape[:3], no_object, dtype=torch.int64)
        for picture, (target, found) in enumerate(zip(targets, pairs, strict=True)):
            wanted[found.layers, picture, found.queries] = target.labels[found.objects]
        ones = logits.new_ones(no_object)
        objects = ones if self.object_weights is None else self.object_weights
        weight = torch.cat([objects, logits.new_full((1,), self.no_object_weight)])
        loss = F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), weight, reduction="none")
        return loss.view(wanted.shape).sum((1, 2))

    def mask_terms(
        self,
        predictions: Sequence[Prediction],
        targets: Sequence[Targets],
        pairs: Sequence[Pairs],
        generators: Sequence[Generator | None],
    ) -> tuple[Tensor, Tensor]:
        """The summed mask and dice losses of every prediction: (L,), (L,)."""
        embeddings = torch.stack([p.mask_embeddings for p in predictions]).float()
        features = predictions[0].mask_features.float()
        # A picture without objects still touches every parameter: no process waits for gradients.
        nothing = 0.0 * (embeddings.sum() + features.sum())
        totals = nothing + embeddings.new_zeros(2, len(predictions))
        for picture, (target, found) in enumerate(zip(targets, pairs, strict=True)):
            if found.layers.shape[0] == 0:
                continue
            logits, truth = self.sample_pairs(
                embeddings[:, picture], features[picture], target, found, generators[picture]
            )
            losses = torch.stack(
                [self.mask_loss.pointwise(logits, truth), dice.pointwise(logits, truth)]
            )
            layers = found.layers.repeat_interleave(target.ids.shape[1])
            totals = totals.index_add(1, layers, losses)
        return totals[0], totals[1]

    def sample_pairs(
        self,
        embeddings: Tensor,  # (L, Q, C)
        features: Tensor,  # (T, C, h, w)
        target: Targets,
        pairs: Pairs,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Logits and soft truth of every pair and frame, at that mask's own points: (M * T, P).

        Only matched queries are multiplied out; every frame of a pair counts as a mask.
        """
        dense = torch.einsum("mc,tchw->mthw", embeddings[pairs.layers, pairs.queries], features)
        frames, height, width = target.ids.shape[1:]
        flat = dense.flatten(0, 1)
        with torch.no_grad():
            points = self.sampler(flat, (height, width), generator).expand(flat.shape[0], -1, -1)
            by_frame = points.unflatten(0, (-1, frames))
            truth = torch.stack(
                [
                    sample_ids(target.ids[:, frame], pairs.objects + 1, by_frame[:, frame])
                    for frame in range(frames)
                ],
                dim=1,
            )
        logits = sample(flat.unsqueeze(1), points).squeeze(1)
        return logits, truth.flatten(0, 1)


def at_least(divisor: float | Tensor, floor: float) -> float | Tensor:
    """Keep a divisor off zero, without waiting for the device that holds it."""
    return divisor.clamp(min=floor) if isinstance(divisor, Tensor) else max(divisor, floor)


def gather_pairs(matches: Sequence[Match], device: torch.device) -> Pairs:
    """Lay the matches of one picture's L predictions end to end."""
    layers = [torch.full_like(match.queries, layer) for layer, match in enumerate(matches)]
    columns = (
        torch.cat(layers),
        torch.cat([match.queries for match in matches]),
        torch.cat([match.objects for match in matches]),
    )
    return Pairs(*(column.to(device, non_blocking=True) for column in columns))


def make_generators(
    seeds: Sequence[int] | None, count: int, device: torch.device
) -> list[Generator | None]:
    """One generator per picture, or none."""
    if seeds is None:
        return [None] * count
    return [Generator(device).manual_seed(seed) for seed in seeds]
