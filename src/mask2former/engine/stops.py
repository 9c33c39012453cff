"""What keeps a run from starting, and what ends it early."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mask2former.categories import Categories
from mask2former.checkpoint import WEIGHTS_FILE
from mask2former.config import Config, Train
from mask2former.engine import state
from mask2former.faults import excerpt
from mask2former.metrics import for_task

ENDED = 128 + signal.SIGTERM
"""The exit status of a run that was told to end."""


class DivergedError(ValueError):
    """The loss is no longer a number; says at which step, what, and with which pictures."""

    def __init__(self, step: int, what: str, pictures: Sequence[str]) -> None:
        super().__init__(
            f"step {step}: {what}, with the pictures {', '.join(pictures)}; "
            "the last checkpoint is whole: look at these pictures and their labels, or train on "
            "with a lower train.learning_rate"
        )


def lost_process(output: Path, error: RuntimeError) -> ValueError:
    """The sentence of a process whose talk with the others broke off."""
    reason = str(error).partition("\n")[0]
    return ValueError(
        f"the processes of this run lost each other, mostly since one has ended ({reason}); "
        f"what was saved in {output} is whole: go on with --resume"
    )


def check_output(output: Path, *, resume: bool, start_from: str | None, reset_head: bool) -> None:
    """A run begins in a folder without one, or goes on with the one that is there."""
    if reset_head and start_from is None:
        raise ValueError("--reset-head leaves out a part of --from MODEL; name one")
    if resume and start_from is not None:
        raise ValueError("--resume goes on from the run's own weights; leave --from out")
    if not resume and state.find(output) is not None:
        raise ValueError(
            f"{output} holds a run already; give --resume to go on with it, or another --output"
        )
    if not resume and (output / WEIGHTS_FILE).exists():
        raise ValueError(f"{output} holds a model, which would be lost; give another --output")


def check_resumable(config: Config, before: Config) -> None:
    """A run goes on with the network and the task it began with."""
    if config.model != before.model or config.test.task != before.test.task:
        raise ValueError(
            "--resume goes on with the stored model.* and test.task; to change these, begin "
            "another run --from this one"
        )


def check_same_classes(given: Categories, before: Categories) -> None:
    """A run goes on with its classes in their order, or its class head would name others."""
    if given.names != before.names:
        number, name = next(
            (number, name)
            for number, name in enumerate([*before.names, None])
            if name != [*given.names, None][number]
        )
        raise ValueError(
            f"--resume goes on with the stored {len(before)} classes, but the data has "
            f"{len(given)}, or others; class {number} was {excerpt(name)} and now is "
            f"{excerpt([*given.names, None][number])}; begin another run --from this one"
        )


def check_shares(train: Train, processes: int) -> None:
    """The batch must be cut into equal parts; ValueError with what would do."""
    parts = processes * train.accumulation
    if train.batch_size % parts:
        raise ValueError(
            f"train.batch_size={train.batch_size} cannot be shared by {processes} processes in "
            f"{train.accumulation} micro-batches; take a multiple of {parts}"
        )
    if train.sharded and train.precision == "fp16":
        raise ValueError("train.sharded=true does not scale fp16 losses; take train.precision=bf16")


def check_best_by(config: Config, categories: Categories) -> None:
    """The figure that tells the best model must be one that is measured."""
    test = config.test
    metric = for_task(
        test.task, categories, test.max_detections, rules=test.ap, boundary=test.boundary
    )
    known = metric.compute()
    if config.train.best_by not in (None, *known):
        raise ValueError(
            f"train.best_by={config.train.best_by} is not measured; choose of {', '.join(known)}"
        )


@contextmanager
def on_signal(number: signal.Signals, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` when the process hears a signal."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen
        return
    before = signal.signal(number, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def patient_keyboard() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back for whoever calls what this hands out, which raises KeyboardInterrupt.

    Raised anywhere it may be lost in a callback, or leave the lock of a pool taken for ever. Who is
    tired of waiting presses again, and is heard at once.
    """
    pressed = False

    def look() -> None:
        if pressed:
            raise KeyboardInterrupt

    def press() -> None:
        nonlocal pressed
        look()
        pressed = True

    with on_signal(signal.SIGINT, press):
        yield look
        look()
