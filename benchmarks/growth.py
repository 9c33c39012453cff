"""How time and memory grow with the picture's side, with queries, instances and frames (ours, R50).

Predicting a picture or clip, all masks made; of instances, a training step. Writes docs/growth.csv
and docs/growth.png (with --quick into the folder for temporary files).
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from mask2former.benchmark import at_size, sample_picture
from mask2former.build import build_model
from mask2former.categories import Categories
from mask2former.checkpoint import ModelCard
from mask2former.config import load_config
from mask2former.engine.predict import Predictor
from mask2former.loss.criterion import Criterion
from mask2former.machine import alternate
from mask2former.model.kernels.hasten import hasten_training
from mask2former.structures import Targets
from measure import Row, megabytes, run

DOCS = Path(__file__).parents[1] / "docs"
SMALL = 64
CELLS = 20
"""Squares along a side, each an instance of its own: 400 at most."""


class Point(NamedTuple):
    """What one setting costs."""

    axis: str
    value: int
    seconds: float
    megabytes: float


def prepare_predict(recipe: str, side: int, queries: int, frames: int) -> Callable[[], object]:
    """A network with random weights, and a picture, or a clip of one picture again and again."""
    torch.manual_seed(0)
    config = load_config(recipe, [f"model.transformer_decoder.num_queries={queries}"])
    classes = "youtubevis_2019" if recipe.startswith("youtubevis") else "coco_instance"
    categories = Categories.bundled(classes)
    network = build_model(config.model, len(categories))
    predictor = Predictor(network, ModelCard(config, categories), torch.device("cpu"))

    def call(side: int = side) -> object:
        picture = sample_picture((side, side))
        clip = picture if frames == 1 else np.repeat(picture[None], frames, axis=0)
        return at_size(predictor, (side, side)).segment(clip, "instance")

    call(SMALL)
    return call


def prepare_step(side: int, instances: int) -> Callable[[], object]:
    """Loss and gradients of one picture of squares."""
    torch.manual_seed(0)
    network = hasten_training(build_model(load_config("coco/instance/r50").model, 80)).train()
    criterion = Criterion()

    def call(side: int = side) -> None:
        places = torch.arange(CELLS**2, dtype=torch.int32).view(1, 1, CELLS, CELLS) + 1
        places = torch.where(places <= instances, places, 0)
        ids = nn.functional.interpolate(places.float(), (side, side)).int()
        targets = [Targets(ids, torch.arange(instances) % 80)]
        terms = criterion(network(torch.rand(1, 3, side, side) * 255), targets)
        torch.stack(list(terms.values())).sum().backward()
        network.zero_grad()

    call(SMALL)
    return call


def measure(axis: str, value: int, prepare: Callable[..., Any], *arguments: Any) -> Point:
    """Time in this process, memory in another."""
    seconds = alternate({"call": prepare(*arguments)}, rounds=3)["call"]
    return Point(axis, value, median(seconds), megabytes(prepare, *arguments))


def measure_all(quick: bool) -> list[Point]:
    """Every axis on its own, the others at 512 x 512, 100 queries, 1 frame."""
    image, video = "coco/instance/r50", "youtubevis_2019/r50"
    side = 96 if quick else 512
    sides = [96, 128] if quick else [256, 512, 768, 1024, 1536, 2048]
    queries = [50, 100] if quick else [50, 100, 200, 300, 400]
    instances = [0, 20] if quick else [0, 10, 50, 100, 200, 300]
    frames = [1, 2] if quick else [1, 2, 4, 8, 16]
    return [
        *(measure("side", n, prepare_predict, image, n, 100, 1) for n in sides),
        *(measure("queries", n, prepare_predict, image, side, n, 1) for n in queries),
        *(measure("instances", n, prepare_step, side, n) for n in instances),
        *(measure("frames", n, prepare_predict, video, side // 2, 100, n) for n in frames),
    ]


def plot(points: list[Point], path: Path) -> None:
    """Time above memory, one column an axis."""
    axes = list(dict.fromkeys(point.axis for point in points))
    figure = Figure(figsize=(3.2 * len(axes), 5), layout="constrained")
    grid = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        own = [point for point in points if point.axis == axis]
        values = [point.value for point in own]
        grid[0, column].plot(values, [point.seconds for point in own], marker="o")
        grid[1, column].plot(values, [point.megabytes for point in own], marker="o", color="C1")
        for cell, most in zip(grid[:, column], map(max, *[p[2:] for p in own]), strict=True):
            cell.set(ylim=(0, 1.1 * most))
        grid[0, column].set(ylabel="seconds")
        grid[1, column].set(ylabel="MB beyond the weights", xlabel=axis)
    figure.savefig(path, dpi=120)


def collect(quick: bool) -> list[Row]:
    """One thread."""
    torch.set_num_threads(1)
    points = measure_all(quick)
    folder = Path(tempfile.gettempdir()) if quick else DOCS
    with (folder / "growth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Point._fields, *points])
    plot(points, folder / "growth.png")
    print(f"saved: {folder}/growth.csv, {folder}/growth.png")
    return [
        Row(f"{p.axis} {p.value}", "s", p.seconds, None, None, "", None, f"{p.megabytes:.0f} MB")
        for p in points
    ]


if __name__ == "__main__":
    run("growth", collect)
