"""What the benchmarks share: rows of the table, the tale of a run, networks with equal weights."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mask2former.build import build_model
from mask2former.config import load_config
from mask2former.convert.huggingface import from_huggingface
from mask2former.machine import Call, describe_machine, peak_memory
from mask2former.model.kernels.hasten import hasten
from mask2former.model.mask2former import Mask2Former

CLASSES = 133
STAGES = ["stage1", "stage2", "stage3", "stage4"]
BACKBONES = {
    "R50": lambda: transformers.ResNetConfig(out_features=STAGES),
    "Swin-T": lambda: transformers.SwinConfig(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], out_features=STAGES
    ),
}
RECIPES = {"R50": "coco/panoptic/r50", "Swin-T": "coco/panoptic/swin_t"}


class Row(NamedTuple):
    """One line of the table; `ours` and `theirs` are in `unit`, `equality` says what was checked.

    `gain` is how many times better ours is.
    """

    what: str
    unit: str
    ours: float
    theirs: float | None
    gain: float | None
    target: str
    reached: bool | None  # None: no target
    equality: str


def at_least(
    what: str, ours: float, theirs: float, target: float | None, equality: str, unit: str = "s"
) -> Row:
    """A row whose target is a ratio: so many times as quick (or, in MB, as small)."""
    gain = theirs / ours
    reached = None if target is None else gain >= target
    return Row(what, unit, ours, theirs, gain, f"{target:g}x" if target else "", reached, equality)


def at_most(what: str, ours: float, theirs: float, limit: float, equality: str) -> Row:
    """A row whose target is a number of megabytes."""
    return Row(what, "MB", ours, theirs, theirs / ours, f"{limit:g} MB", ours <= limit, equality)


def megabytes(prepare: Callable[..., Call], *arguments: Any, result: float = 0.0) -> float:
    """What a call needs beyond what was there before and its own result (MB), in a new process."""
    extra = peak_memory(prepare, *arguments)
    if extra is None:
        raise SystemExit("this system does not tell how much memory a process has had")
    return extra / 1e6 - result


def run(script: str, collect: Callable[[bool], Sequence[Row]]) -> None:
    """Do what a script is for: measure, print a table, and a line of JSON at the end."""
    parser = ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: does the script work?")
    quick = parser.parse_args().quick
    before = describe_machine()
    rows = collect(quick)
    after = describe_machine()["load_average"]
    table = Table("what", "ours", "theirs", "gain", "target", "reached", "equality")
    for row in rows:
        table.add_row(*cells(row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    busy = f"load average {before['load_average']:.1f} before, {after:.1f} after"
    print(f"{before['processor']}, {before['cores']} cores, torch {before['torch']}; {busy}")
    machine = {**before, "load_average_after": after}
    document = {"script": script, "quick": quick, "machine": machine}
    print(json.dumps({**document, "rows": [row._asdict() for row in rows]}))


def cells(row: Row) -> list[str]:
    """A row as the table shows it."""
    reached = {None: "", True: "yes", False: "no"}[row.reached]
    gain = "" if row.gain is None else f"{row.gain:.2f}x"
    shown = [show(row.ours, row.unit), show(row.theirs, row.unit)]
    return [row.what, *shown, gain, row.target, reached, row.equality]


def show(value: float | None, unit: str) -> str:
    """A figure in three digits, seconds below ten in milliseconds."""
    if value is None:
        return ""
    if unit == "s" and value < 10:
        value, unit = 1000 * value, "ms"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}".strip()


def demand_equal(ours: Tensor, theirs: Tensor, tolerance: float, what: str) -> float:
    """The largest difference over the largest value (at least 1); an error beyond `tolerance`."""
    scale = theirs.abs().max().clamp(min=1.0)
    difference = ((ours - theirs).abs().max() / scale).item()
    if not difference <= tolerance:
        raise AssertionError(f"{what} differ by {difference:.1e} of the largest value")
    return difference


def build_theirs(backbone: str, queries: int = 100) -> transformers.PreTrainedModel:
    """transformers' Mask2Former with random weights, for COCO's panoptic classes."""
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(
        backbone_config=BACKBONES[backbone](), num_labels=CLASSES, num_queries=queries
    )
    return transformers.Mask2FormerForUniversalSegmentation(config).eval()


def build_ours(backbone: str, theirs: transformers.PreTrainedModel) -> Mask2Former:
    """Ours with the same weights; like theirs it takes pictures that are normalised already."""
    plain = ["model.mean=[0, 0, 0]", "model.std=[1, 1, 1]"]
    config = load_config(RECIPES[backbone], plain)
    ours = build_model(config.model, CLASSES)
    ours.load_state_dict(from_huggingface(theirs.state_dict()))
    return ours.eval()


def build_both(backbone: str) -> tuple[Mask2Former, transformers.PreTrainedModel]:
    """Both networks with equal weights, ours as it predicts."""
    theirs = build_theirs(backbone)
    return hasten(build_ours(backbone, theirs)), theirs
