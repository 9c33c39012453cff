"""The paper's optimiser: AdamW with three kinds of parameters (section 4.1; official code)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from mask2former.config import Schedule, Train

NOT_DECAYED = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.Embedding)
POSITIONS = {"relative_position_bias_table", "pos_embed"}
TOKENS = {"cls_token", "reg_token", "dist_token"}
LAYER_SCALES = {"gamma", "gamma_1", "gamma_2"}
KEPT = POSITIONS | TOKENS | LAYER_SCALES
"""Names of parameters that are not decayed either, in Swin and in timm's backbones."""


def build_optimizer(model: nn.Module, train: Train) -> torch.optim.AdamW:
    """AdamW; the backbone learns slower, norms, embeddings and layer scales are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            in_backbone = "backbone" in f"{module_name}.{name}".split(".")
            factor = train.backbone_factor if in_backbone else 1.0
            kept = isinstance(module, NOT_DECAYED) or name in KEPT
            decay = 0.0 if kept else train.weight_decay
            groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": train.learning_rate * factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ],
        lr=train.learning_rate,
    )


class Pace(NamedTuple):
    """How fast a run goes through its schedule: from `at` at the step `since` to 1 at `steps`."""

    steps: int
    since: int = 0
    at: float = 0.0

    def progress(self, step: int) -> float:
        """The place of a step in the schedule, from 0 to 1."""
        if step >= self.steps:
            return 1.0
        return self.at + (1 - self.at) * ((step - self.since) / (self.steps - self.since))

    def bend(self, step: int, steps: int) -> Pace:
        """Go on from a step with another number of steps in all: the schedule never jumps."""
        return Pace(steps, step, self.progress(step))


def learning_rate_factor(
    schedule: Schedule, steps: int, since: int = 0, at: float = 0.0
) -> Callable[[int], float]:
    """What the learning rate is multiplied with at each step of a `Pace`."""
    pace = Pace(steps, since, at)

    def factor(step: int) -> float:
        warm = min((step + 1) / max(schedule.warmup, 1), 1.0)
        progress = pace.progress(step)
        match schedule.kind:
            case "poly":
                return warm * (1 - progress) ** schedule.power
            case "cosine":
                return warm * (1 + math.cos(math.pi * progress)) / 2
            case "step":
                passed = sum(progress >= milestone for milestone in schedule.milestones)
                return warm * schedule.factor**passed

    return factor
