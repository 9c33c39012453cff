"""The figures of the last steps: kept on the device until they are told of."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mask2former.engine.processes import Team
from mask2former.engine.stops import DivergedError

OVERFLOWS = 20
"""So many steps on end may not overflow in fp16."""


class Step(NamedTuple):
    """What is kept of a step until it is told of."""

    number: int
    pictures: list[str]
    figures: dict[str, Tensor]


class Window:
    """The steps since the last line. `scales_loss`: fp16's, whose gradients overflow at times."""

    def __init__(self, team: Team, *, scales_loss: bool) -> None:
        self.team = team
        self.scales_loss = scales_loss
        self.steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Keep one more."""
        self.steps.append(step)

    def check(self) -> list[dict[str, float]]:
        """The figures of the steps, averaged over the processes.

        Raises DivergedError at one that is no number: weights that such a step has spoilt are
        never measured and never saved.
        """
        if not self.steps:
            return []
        rows = torch.stack([torch.stack(list(step.figures.values())) for step in self.steps])
        names = list(self.steps[0].figures)
        figures = [dict(zip(names, row, strict=True)) for row in self.team.mean(rows).tolist()]
        for step, row in zip(self.steps, figures, strict=True):
            bad = [name for name, value in row.items() if not math.isfinite(value)]
            if self.scales_loss:
                # Loss scaling overflows now and then; it then leaves the step out by itself.
                bad = [name for name in bad if name != "gradient_norm"]
            if self.scales_loss and step is self.steps[-1]:
                norms = [row["gradient_norm"] for row in figures]
                if len(norms) >= OVERFLOWS and not any(map(math.isfinite, norms)):
                    bad = ["gradients, whatever the scale of the loss,"]
            if bad:
                pictures = [name for names in self.team.gather(step.pictures) for name in names]
                raise DivergedError(step.number, f"{', '.join(bad)} not finite", pictures)
        return figures

    def close(self) -> dict[str, float]:
        """Begin anew: the mean losses of the steps so far, and the norm of the last gradient."""
        rows = self.check()
        self.steps.clear()
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        return mean | {"gradient_norm": rows[-1]["gradient_norm"]}
