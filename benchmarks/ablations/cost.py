"""What a row costs on this machine: a training step's time and memory, a picture's GFLOP."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch
from torch import nn

from mask2former.benchmark import count_gflop
from mask2former.build import build_criterion, build_model
from mask2former.config import Config, parse_config
from mask2former.machine import peak_memory
from mask2former.model.kernels.hasten import hasten_training
from mask2former.structures import Targets
from rows import SIDE

BATCH, CELLS, STEPS = 4, 3, 3
PICTURE = (512, 512)


class Cost(NamedTuple):
    """Seconds are those of the processor, which others on the machine change little."""

    step_seconds: float
    megabytes: float
    """Of a step, beyond the weights."""
    gflop: float
    """Of a picture of 512 x 512."""
    parameters: int


def measure(config: Config, classes: int) -> Cost:
    """One thread; four crops with nine objects each."""
    torch.set_num_threads(1)
    step = prepare_step(config.model_dump(mode="json"), classes)
    seconds = []
    for _ in range(STEPS):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    bytes_needed = peak_memory(prepare_step, config.model_dump(mode="json"), classes)
    network = build_model(config.model, classes).eval()
    return Cost(
        median(seconds),
        float("nan") if bytes_needed is None else bytes_needed / 1e6,
        count_gflop(network, torch.rand(1, 3, *PICTURE) * 255),
        sum(parameter.numel() for parameter in network.parameters()),
    )


def prepare_step(tree: dict, classes: int) -> Callable[[], object]:
    """Loss and gradients of a batch; `tree` are the settings, which go into another process."""
    torch.manual_seed(0)
    config = parse_config(tree, "a row")
    network = hasten_training(build_model(config.model, classes)).train()
    criterion = build_criterion(config.loss)
    places = torch.arange(CELLS**2).view(1, 1, CELLS, CELLS) + 1.0
    ids = nn.functional.interpolate(places, (SIDE, SIDE)).int()
    targets = [Targets(ids, torch.arange(CELLS**2) % classes)] * BATCH

    def step(pictures: int = BATCH) -> None:
        terms = criterion(network(torch.rand(pictures, 3, SIDE, SIDE) * 255), targets[:pictures])
        torch.stack(list(terms.values())).sum().backward()
        network.zero_grad()

    step(1)
    return step
