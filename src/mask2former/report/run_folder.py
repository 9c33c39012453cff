"""The folder of a training run: figures as JSON lines, a log, curves, sample pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mask2former.files import to_json, with_nan
from mask2former.writing import add_line, make_folder, replace_file, replace_text

METRICS_FILE = "metrics.jsonl"


class RunFolder:
    """Where a run writes. Lines later than the step a run resumes from are taken back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other runs out of the folder; a run that dies lets go of it.

        Raises ValueError where another run is at work.
        """
        try:
            with filelock.FileLock(self.path / ".lock", timeout=0):
                yield
        except filelock.Timeout:
            raise ValueError(
                f"another run is writing into {self.path}; wait for it, or give another --output"
            ) from None

    def begin(self, step: int) -> None:
        """Forget figures that a resumed run will write again."""
        kept = [record for record in self.read() if record["step"] <= step]
        lines = "".join(to_json(record) + "\n" for record in kept)
        replace_text(self.path / METRICS_FILE, lines)

    def read(self) -> list[dict[str, Any]]:
        """All figures so far; a last line that a crash cut short is no figure."""
        path = self.path / METRICS_FILE
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [with_nan(json.loads(line)) for line in lines if line.endswith("\n")]

    def record(self, step: int, figures: dict[str, Any]) -> None:
        """Add one line of figures."""
        add_line(self.path / METRICS_FILE, to_json({"step": step, **figures}))

    def say(self, line: str) -> None:
        """Add one line to the log."""
        add_line(self.path / "train.log", line)

    def save_sample(self, name: str, picture: Image.Image) -> None:
        """Write a picture of what the model sees."""
        replace_file(self.path / "samples" / f"{name}.png", picture.save)

    def plot(self) -> None:
        """Draw `results.png`: losses, validation metrics, learning rate."""
        records = self.read()
        losses = [record for record in records if "loss" in record]
        evaluations = [record for record in records if "validation" in record]
        if not losses:
            return
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        steps = [record["step"] for record in losses]
        for term in ("loss_ce", "loss_mask", "loss_dice"):
            left.plot(steps, [record.get(term, np.nan) for record in losses], label=term, lw=1)
        left.set(title="training loss, last layer", xlabel="step", yscale="log")
        left.legend()
        for metric in list(evaluations[0]["validation"])[:4] if evaluations else []:
            values = [record["validation"].get(metric, np.nan) for record in evaluations]
            middle.plot(
                [record["step"] for record in evaluations], values, marker=".", label=metric
            )
        middle.set(title="validation", xlabel="step", ylim=(0, 1))
        if evaluations:
            middle.legend()
        right.plot(steps, [record["learning_rate"] for record in losses], lw=1)
        right.set(title="learning rate", xlabel="step")
        for axes in (left, middle, right):
            axes.grid(alpha=0.3)
        replace_file(self.path / "results.png", lambda beside: figure.savefig(beside, dpi=110))


def format_seconds(seconds: float) -> str:
    """A length of time: 4.5 s, 2:03, or 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
