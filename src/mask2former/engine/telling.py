"""What a run tells: to a person line by line, to its folder, and to the trackers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from mask2former.config import Config
from mask2former.data import Dataset
from mask2former.data.class_maps import warn_of_one_class
from mask2former.engine.budget import UNPLANNED
from mask2former.engine.evaluate import Report
from mask2former.engine.learner import count_parameters
from mask2former.engine.processes import Team
from mask2former.engine.state import Progress
from mask2former.machine import peak
from mask2former.model.mask2former import Mask2Former
from mask2former.report.live import LiveLine
from mask2former.report.run_folder import RunFolder, format_seconds

TERMS = ("loss_ce", "loss_mask", "loss_dice")
"""Of the last layer: those that a person follows."""


class Teller:
    """The voice of a run, of which the first process has one. `listener` hears whole lines."""

    def __init__(
        self, listener: Callable[[str], None], folder: RunFolder, accelerator: Accelerator
    ) -> None:
        self.listener = listener
        self.folder = folder
        self.accelerator = accelerator
        self.live = LiveLine(wanted=accelerator.is_main_process)

    def say(self, line: str) -> None:
        """Tell the person, and the log."""
        if self.accelerator.is_main_process:
            self.listener(line)
            self.folder.say(line)

    def tell_step(self, line: str, step: int, steps: int) -> None:
        """Tell how far the run is: at the foot of a terminal, or as a line like any other."""
        if not self.live.shown:
            self.say(line)
            return
        self.folder.say(line)
        self.live.show(step, steps, line)

    def record(self, step: int, figures: dict[str, Any]) -> None:
        """Keep figures as a line of JSON and for the trackers."""
        if self.accelerator.is_main_process:
            self.folder.record(step, figures)
            flat = figures.get("validation", figures)
            self.accelerator.log(flat, step=step)


def introduce(
    network: Mask2Former,
    sets: Sequence[Dataset],
    config: Config,
    device: torch.device,
    *,
    team: Team,
    step: int,
) -> list[str]:
    """What is trained on what, and which settings do nothing; `sets`: for training, validation."""
    train, (train_set, val_set) = config.train, sets
    parameters, learning = count_parameters(network)
    frozen = "" if learning == parameters else f" ({learning / 1e6:.1f} M learn)"
    processes = "" if team.size == 1 else f" in {team.size} processes"
    notes = list(dict.fromkeys((*train_set.notes, *val_set.notes)))
    if train.sharded and team.size == 1:
        notes.append("train.sharded does nothing in one process; torchrun starts more")
    if not len(val_set):
        notes.append("no validation pictures have labels, so the last weights are kept")
        idle = {"best_by": train.best_by, "patience": train.patience}
        names = [f"train.{name}" for name, value in idle.items() if value is not None]
        if names:
            notes.append(f"{' and '.join(names)}: nothing, where nothing is measured")
    length = f"steps {step} to {train.steps}"
    if train.steps == UNPLANNED:
        length = f"as many steps as {train.minutes:g} minutes hold, once the first are timed"
    what = (
        f"{len(train_set)} training and {len(val_set)} validation pictures, "
        f"{len(train_set.categories)} classes; {parameters / 1e6:.1f} M parameters{frozen} on "
        f"{device}{processes}; {length}"
    )
    warnings = warn_of_one_class(config.test.task, train_set.categories.names)
    return [what, *(f"note: {note}" for note in notes), *(f"warning: {w}" for w in warnings)]


def describe_step(
    figures: dict[str, float], progress: Progress, steps: int, left: float, device: torch.device
) -> str:
    """Losses, rate, speed, memory, the best so far and the seconds left, in one line."""
    memory = peak(device)
    return (
        f"step {progress.step}/{steps}  loss {figures['loss']:.3f}  "
        + "  ".join(f"{term.removeprefix('loss_')} {figures[term]:.3f}" for term in TERMS)
        + f"  lr {figures['learning_rate']:.1e}  {progress.step / progress.seconds:.2f} steps/s"
        + ("" if memory is None else f"  {memory / 2**30:.1f} GiB")
        + ("" if progress.best == -math.inf else f"  best {progress.best:.4f}")
        + f"  left {format_seconds(left)}"
    )


def describe(report: Report) -> str:
    """The figures of an evaluation in one line."""
    figures = "  ".join(f"{name} {value:.4f}" for name, value in report.summary.items())
    return f"{figures}  ({report.pictures} pictures, {report.seconds:.0f} s)"
