"""Programs that draw the figures of runs: TensorBoard, and others where they are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from accelerate.tracking import GeneralTracker, TensorBoardTracker

PROJECT = "mask2former"
"""Under which Weights & Biases and MLflow file the runs."""


def choose_trackers(names: Sequence[str], output: Path) -> list[str | GeneralTracker]:
    """What Accelerate is to log with; ValueError names the package that is missing.

    TensorBoard's files are those in `events/` of the run folder; the others have their own ways.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"train.trackers names {name}, which is not installed; `pip install {name}`, or "
                "leave it out"
            )
    own = TensorBoardTracker("events", logging_dir=str(output))
    return [own if name == "tensorboard" else name for name in names]
