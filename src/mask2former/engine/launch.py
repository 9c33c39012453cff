"""Processes, precision and trackers around a run, set up and taken down."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration

from mask2former.config import Train
from mask2former.engine.processes import means_lost_process
from mask2former.engine.stops import ENDED, lost_process, on_signal
from mask2former.engine.trackers import PROJECT, choose_trackers

Outcome = TypeVar("Outcome")


def leave() -> None:
    """End at once, with the exit status of a polite kill."""
    raise SystemExit(ENDED)


@dataclass
class Ending:
    """What a polite kill (SIGTERM) does at this moment."""

    act: Callable[[], None] = leave


def launch(
    run: Callable[[Accelerator, Ending], Outcome], train: Train, output: Path, device: torch.device
) -> Outcome:
    """Call `run` with what Accelerate makes of the settings and of torchrun's processes.

    The group of processes is taken apart before the interpreter ends. Its threads hold what a
    wrapped network gave them, Python objects among it; a thread that lets go of one when there is
    no interpreter any more aborts the process. So the trainer goes first, which nobody holds when
    `run` has returned but the cycles it is part of; then the group, whose end waits for its
    threads. A kill is not heard meanwhile: there may be a sentence to say.
    """
    ending = Ending()
    with on_signal(signal.SIGTERM, lambda: ending.act()):
        accelerator = Accelerator(
            mixed_precision={"fp32": "no"}.get(train.precision, train.precision),
            cpu=device.type == "cpu",
            project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output)),
        )
        try:
            trackers = choose_trackers(train.trackers, output)
            accelerator.log_with = trackers  # pyrefly: ignore[bad-assignment]
            accelerator.init_trackers(PROJECT)
            return run(accelerator, ending)
        except RuntimeError as error:
            if accelerator.num_processes > 1 and means_lost_process(error):
                raise lost_process(output, error) from error
            raise
        finally:
            ending.act = lambda: None
            accelerator.free_memory()  # lets go of the optimiser, and collects garbage
            accelerator.end_training()
            AcceleratorState._reset_state(reset_partial_state=True)  # the next run may differ
