"""The whole state of a run on disk, in one file that is the old one or the new one, never half."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mask2former.checkpoint import load_card
from mask2former.config import Config
from mask2former.writing import replace_file

STATE_FILE = Path("last") / "state.pt"


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    waited: int = 0
    """Evaluations since the best."""
    best_by: str | None = None
    """The figure that tells the best."""
    pace: tuple[int, int, float] | None = None
    """Of the schedule, where a run has a time limit and is planned."""
    measuring: float = 0.0
    """Seconds the last evaluation took."""
    spent: float = 0.0
    """Seconds in all, of what has a time limit."""
    measured: int = 0
    """The step of the last evaluation."""

    def measured_by(self, figure: str | None) -> None:
        """Look for the best anew if another figure tells it from now on."""
        if figure != self.best_by:
            self.best_by, self.best, self.waited = figure, -math.inf, 0


def save(folder: Path, progress: Progress, state: dict[str, Any]) -> None:
    """Write the state beside the old one, then put it in its place."""
    path = folder / STATE_FILE
    document = {"progress": asdict(progress), **state}

    def write(beside: Path) -> None:
        torch.save(document, beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # it takes the place of the only other one

    replace_file(path, write)


def load(folder: Path) -> tuple[Progress, dict[str, Any]]:
    """Read the last state; ValueError where there is none or it is no state."""
    path = demand(folder)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        progress = Progress(**document.pop("progress"))
    except Exception as error:  # whatever a foreign file brings about
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged or of another version ({reason})") from None
    return progress, document


def find(folder: Path) -> Path | None:
    """The state of a run that has saved one."""
    path = folder / STATE_FILE
    return path if path.is_file() else None


def demand(folder: Path) -> Path:
    """`find`, or one sentence."""
    found = find(folder)
    if found is None:
        raise ValueError(f"{folder} holds no checkpoint to resume from")
    return found


def load_config(folder: Path) -> Config:
    """The settings of a run that can be resumed."""
    demand(folder)
    return load_card(folder).config
