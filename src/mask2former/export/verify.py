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
from mask2former.faults import last_line
from mask2former.runtime import Run
from mask2former.structures import Prediction

OTHER_SIZES = ((192, 224), (320, 256), (32, 96))
BATCHES = (1, 3)
ROUNDING = 1e-3
"""How much of a sum's terms counts as large: a sum of terms of 10,000 may be off by 0.01."""
TIE = 1e-4
"""Instances whose scores are so near are equally sure: rounding orders them."""
NUDGE, NUDGES, MORE = 1e-2, 8, 10
"""Of a grey level. Rounding may turn a pixel of an attention mask on or off, and its query, and
those that read it, then answer otherwise, in any two implementations. Where PyTorch itself moves
when pixels move so little, so many times, the file may differ ten times as far."""
LIMITS = {"fp32": (1e-3, 1e-3), "fp16": (5e-2, 2e-2)}
"""By precision: the largest difference of a number (of those above 1: relative), and the largest
share of pixels that may differ."""


ADVICE = "try the other format, or a fixed --size"


class Check(NamedTuple):
    """One comparison; `steady` is what PyTorch's own unsteadiness does not explain."""

    size: tuple[int, int]
    batch: int
    difference: float  # the largest
    pixels: float  # the share that differs
    steady: tuple[float, float]  # of both

    def __str__(self) -> str:
        """A line for a person."""
        (height, width), (difference, pixels) = self.size, self.steady
        unsteady = self.steady != (self.difference, self.pixels)
        where = f" (where steady: {difference:.1e}, {100 * pixels:.3f} %)" if unsteady else ""
        return (
            f"{height}x{width}, batch {self.batch}: largest difference {self.difference:.1e}; "
            f"{100 * self.pixels:.3f} % of pixels differ{where}"
        )


def verify(run: Run, graph: Graph, plan: Plan) -> Iterator[Check]:
    """Compare at every size and batch. Raises ValueError at the first that is too far off."""
    limits = LIMITS[plan.precision]
    sizes = (TRACED, *OTHER_SIZES) if plan.size is None else (plan.size,)
    for size in sizes:
        for batch in BATCHES:
            check = compare(run, graph, plan, size, batch)
            yield check
            if not all(own <= limit for own, limit in zip(check.steady, limits, strict=True)):
                raise ValueError(
                    f"the exported file is wrong ({check}; at most {limits[0]:g} and "
                    f"{100 * limits[1]:g} % may) and is not kept; {ADVICE}"
                )


def compare(run: Run, graph: Graph, plan: Plan, size: tuple[int, int], batch: int) -> Check:
    """Both on the same pictures."""
    images = fit(pictures(graph.network.mean.shape[0], plan.frames, size, batch), graph.value_range)
    with torch.inference_mode():
        expected = graph(images)
    outputs = ask(run, images, plan)
    given, wanted = (shapes_of(parts, plan) for parts in (outputs, expected))
    if given != wanted:
        raise ValueError(
            f"the exported file is wrong (at {size[0]}x{size[1]}, batch {batch}, its outputs have "
            f"the shapes {given}, not {wanted}) and is not kept; {ADVICE}"
        )
    rule = compare_predictions if plan.outputs == "network" else compare_results
    differences, pixels = rule(outputs, expected)
    largest, (limit, few) = differences.max().item(), LIMITS[plan.precision]
    if (largest <= limit and pixels <= few) or largest == math.inf:
        return Check(size, batch, largest, pixels, (largest, pixels))
    own, flips = zip(*(rule(moved, expected) for moved in nudged(graph, images)), strict=True)
    bearable = MORE * torch.stack(own).amax(0)
    others = differences[(bearable <= limit) | (differences > bearable)]
    steady = others.max().item() if others.numel() else 0.0
    return Check(
        size, batch, largest, pixels, (steady, pixels if pixels > MORE * max(flips) else 0.0)
    )


def ask(run: Run, images: Tensor, plan: Plan) -> list[Tensor]:
    """What an exported file says of pictures."""
    batch = images.shape[0]
    try:
        found = [
            run(piece.contiguous().numpy())
            for piece in images.split(1 if plan.size is not None else batch)
        ]
    except Exception as error:  # a runtime's own, of any kind
        height, width = images.shape[-2:]
        raise ValueError(
            f"the exported file does not run at {height}x{width}, batch {batch} "
            f"({last_line(error)}) and is not kept; {ADVICE}"
        ) from error
    return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*found, strict=True)]


def shapes_of(outputs: Sequence[Tensor], plan: Plan) -> list[tuple[int, ...]]:
    """What the shapes of outputs must agree in: not in how wide two factors of masks are."""
    shapes = [tuple(part.shape) for part in outputs]
    if plan.outputs == "result":
        return shapes
    classes, embeddings, features = shapes
    return [classes, embeddings[:2], (*features[:2], *features[3:])]


@torch.inference_mode()
def nudged(graph: Graph, images: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """What PyTorch says of the pictures when their pixels move by next to nothing."""
    generator = torch.Generator().manual_seed(0)
    low, high = graph.value_range
    for _ in range(NUDGES):
        noise = 2 * torch.rand(images.shape, generator=generator) - 1
        yield graph(images + noise * NUDGE * (high - low) / 255)


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
    """The difference of every score and label, and the share of pixels of maps and masks."""
    pairs = list(zip(found, expected, strict=True))
    scores = [pair for pair in pairs if pair[1].is_floating_point()]
    labels = [pair for pair in pairs if not pair[1].is_floating_point() and pair[1].ndim == 2]
    maps = [share(ours != theirs) for ours, theirs in pairs if theirs.ndim == 3]
    maps += [share(mislaid(*pair, scores[0][1])) for pair in pairs if pair[1].ndim == 4]
    differences = [far(ours, theirs).flatten() for ours, theirs in scores]
    differences += [
        misplaced(*pair, sure).flatten() for pair, (_, sure) in zip(labels, scores, strict=True)
    ]
    return torch.cat([*differences, torch.zeros(1)]), max(maps)


def misplaced(labels: Tensor, expected: Tensor, scores: Tensor) -> Tensor:
    """How sure (B, N) it is that labels are wrong, by the expected ones and their scores.

    Two that are equally sure may change places: what counts is how far away, in score, the label
    is that was found.
    """
    gaps = (scores[:, :, None] - scores[:, None]).abs()
    gaps = gaps.masked_fill(labels[:, :, None] != expected[:, None], torch.inf)
    return torch.minimum(gaps.amin(-1), scores)


def mislaid(masks: Tensor, expected: Tensor, scores: Tensor) -> Tensor:
    """Which pixels (B, N, H, W) of masks are wrong, where two that are equally sure may change
    places, by the expected scores (B, N): each is compared with the likest of its equals."""
    differ = masks != expected
    for picture, place in differ.flatten(2).any(-1).nonzero().tolist():
        equals = (scores[picture] - scores[picture, place]).abs() <= TIE
        wrong = masks[picture, place] != expected[picture, equals]
        differ[picture, place] = wrong[wrong.flatten(1).sum(1).argmin()]
    return differ


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


def fit(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Pictures of 0..255 in another range of numbers."""
    low, high = value_range
    return low + images * (high - low) / 255
