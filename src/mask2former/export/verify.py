"""The proof of an export: the file's own runtime beside PyTorch, on pictures, at several sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mask2former.export.graph import TRACED, Graph
from mask2former.export.plan import Plan
from mask2former.runtime import Run
from mask2former.structures import Prediction

OTHER_SIZES = ((192, 224), (320, 256))
BATCHES = (1, 3)
ROUNDING = 1e-3
"""How much of a sum's terms counts as large: a sum of terms of 10,000 may be off by 0.01."""
NUDGE, NUDGES = 1e-3, 4
"""Of a grey level. Rounding may turn a pixel of an attention mask on or off, and its query, and
those that read it, then answer otherwise, in any two implementations. Where PyTorch itself moves
when pixels move so little, so many times, the file may differ twice as far."""
LIMITS = {"fp32": (1e-3, 1e-3), "fp16": (5e-2, 2e-2)}
"""By precision: the largest difference of a number (of those above 1: relative), and the largest
share of pixels that may differ."""


class Check(NamedTuple):
    """One comparison."""

    size: tuple[int, int]
    batch: int
    difference: float  # the largest
    steady: float  # the largest of those that PyTorch's own unsteadiness does not explain
    pixels: float

    def __str__(self) -> str:
        """A line for a person."""
        height, width = self.size
        steady = "" if self.steady == self.difference else f" ({self.steady:.1e} where steady)"
        return (
            f"{height}x{width}, batch {self.batch}: largest difference {self.difference:.1e}"
            f"{steady}; {100 * self.pixels:.3f} % of pixels differ"
        )


def verify(run: Run, graph: Graph, plan: Plan) -> Iterator[Check]:
    """Compare at every size and batch. Raises ValueError at the first that is too far off."""
    difference, pixels = LIMITS[plan.precision]
    sizes = (TRACED, *OTHER_SIZES) if plan.size is None else (plan.size,)
    for size in sizes:
        for batch in BATCHES:
            check = compare(run, graph, plan, size, batch)
            yield check
            if not (check.steady <= difference and check.pixels <= pixels):
                raise ValueError(
                    f"the exported file is wrong ({check}; at most {difference:g} and "
                    f"{100 * pixels:g} % of pixels may), and was deleted; try the other format, or "
                    "a fixed --size"
                )


def compare(run: Run, graph: Graph, plan: Plan, size: tuple[int, int], batch: int) -> Check:
    """Both on the same pictures."""
    images = pictures(graph.network.mean.shape[0], plan.frames, size, batch)
    with torch.inference_mode():
        expected = graph(images)
    pieces = images.split(1 if plan.size is not None else batch)
    try:
        found = [run(piece.contiguous().numpy()) for piece in pieces]
    except Exception as error:  # a runtime's own, of any kind
        height, width = size
        raise ValueError(
            f"the exported file does not run at {height}x{width}, batch {batch} "
            f"({str(error).strip().splitlines()[-1]}), and was deleted; try the other format, or a "
            "fixed --size"
        ) from error
    outputs = [torch.from_numpy(np.concatenate(parts)) for parts in zip(*found, strict=True)]
    rule = compare_predictions if plan.outputs == "network" else compare_results
    differences, pixels = rule(outputs, expected)
    largest, limit = differences.max().item(), LIMITS[plan.precision][0]
    if limit < largest < math.inf:
        own = torch.stack([rule(moved, expected)[0] for moved in nudged(graph, images)]).amax(0)
        differences = differences[(2 * own <= limit) | (differences > 2 * own)]
    steady = differences.max().item() if differences.numel() else 0.0
    return Check(size, batch, largest, steady, pixels)


@torch.inference_mode()
def nudged(graph: Graph, images: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """What PyTorch says of the pictures when their pixels move by next to nothing."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(NUDGES):
        yield graph(images + NUDGE * (2 * torch.rand(images.shape, generator=generator) - 1))


def compare_predictions(
    found: Sequence[Tensor], expected: Sequence[Tensor]
) -> tuple[Tensor, float]:
    """The largest difference of each query's logits, and the share of mask pixels that flip."""
    ours, theirs = Prediction(*found), Prediction(*expected)
    mine, wanted = ours.mask_logits(), theirs.mask_logits()
    # Placed masks are small sums of large terms, whose rounding no runtime can be better at.
    terms = Prediction(theirs[0], theirs[1].abs(), theirs[2].abs()).mask_logits()
    of_queries = torch.maximum(
        far(ours.class_logits, theirs.class_logits).amax(-1),
        far(mine, wanted, scale=ROUNDING * terms).flatten(2).amax(-1),
    )
    return of_queries.flatten(), share((mine > 0) != (wanted > 0))


def compare_results(found: Sequence[Tensor], expected: Sequence[Tensor]) -> tuple[Tensor, float]:
    """The difference of every score, and the share of pixels of maps and masks that differ."""
    pairs = list(zip(found, expected, strict=True))
    scores = [far(a, b).flatten() for a, b in pairs if b.is_floating_point()]
    maps = [share(ours != theirs) for ours, theirs in pairs if theirs.ndim >= 3]
    return torch.cat([*scores, torch.zeros(1)]), max(maps)


def far(ours: Tensor, theirs: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """How far off; relative to what is above 1 of value and scale. Infinite for NaNs."""
    scales = torch.maximum(theirs.abs(), torch.as_tensor(scale)).clamp(min=1)
    return ((ours - theirs).abs() / scales).nan_to_num(torch.inf)


def share(differ: Tensor) -> float:
    """How much of it differs, 0..1."""
    return differ.float().mean().item()


def pictures(channels: int, frames: int | None, size: tuple[int, int], batch: int) -> Tensor:
    """Bundled pictures of cells: (B, 3, H, W), or (B, T, 3, H, W), each frame another part."""
    folder = resources.files("mask2former") / "demo" / "cells"
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith((".png", ".jpg")))
    found = []
    for index in range(batch * (frames or 1)):
        with (folder / files[index % len(files)]).open("rb") as opened, Image.open(opened) as image:
            turned = image.convert("RGB").rotate(5 * (index // len(files)))
            found.append(np.asarray(turned.resize(size[::-1]), np.float32))
    images = torch.from_numpy(np.stack(found)).movedim(-1, 1)
    images = images[:, [channel % 3 for channel in range(channels)]]
    return images if frames is None else images.unflatten(0, (batch, frames))
