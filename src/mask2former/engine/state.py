"""The whole state of a run on disk: written beside the old one, then put in its place."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from accelerate import Accelerator

from mask2former.checkpoint import load_card
from mask2former.config import Config

LAST, PART, OLD = "last", ".last.part", ".last.old"


class Progress:
    """How far a run has come; stored with every checkpoint."""

    def __init__(self) -> None:
        self.step = 0
        self.best = -math.inf
        self.seconds = 0.0

    def state_dict(self) -> dict[str, float]:
        """What is stored."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from there."""
        vars(self).update(state)


def save(accelerator: Accelerator, folder: Path) -> None:
    """Write weights, optimiser, random states and progress. A kill leaves the old state or the new.

    All processes call it.
    """
    last, part, old = (folder / name for name in (LAST, PART, OLD))
    if accelerator.is_main_process and part.exists():
        shutil.rmtree(part)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(part))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if last.exists():
            shutil.rmtree(old, ignore_errors=True)
            last.replace(old)
        part.replace(last)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def load(accelerator: Accelerator, folder: Path) -> None:
    """Go on from the newest state."""
    accelerator.load_state(str(demand(folder)))


def find(folder: Path) -> Path | None:
    """The newest whole state of a run; a run that was killed while it saved has the one before."""
    return next((folder / name for name in (LAST, OLD) if (folder / name).exists()), None)


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
