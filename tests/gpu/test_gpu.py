"""An accelerator computes what the CPU does, in every precision, and is never waited for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mask2former
from mask2former.build import build_criterion, build_model
from mask2former.config import Config
from mask2former.engine.device import check_precision
from mask2former.engine.train import train
from mask2former.files import read_image
from mask2former.structures import Batch, Match

pytestmark = pytest.mark.gpu
Tiny = Callable[..., Config]
DEMO = Path(str(files("mask2former"))) / "demo" / "cells"


@contextmanager
def no_waiting() -> Iterator[None]:
    """To wait for a CUDA device is an error inside."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def nearly_equal(ours: Tensor, theirs: Tensor) -> bool:
    """Within 1e-3 of the range, but for one value in a thousand: a mask's border may flip a bit."""
    error = (ours.cpu() - theirs).abs().flatten() / max(1.0, theirs.abs().max().item())
    return error.sort().values[int(0.999 * (error.shape[0] - 1))].item() < 1e-3


@pytest.mark.parametrize("picture", sorted(DEMO.glob("*.*g")), ids=lambda path: path.stem)
def test_bundled_model_predicts_as_on_the_cpu(device: torch.device, picture: Path) -> None:
    image = read_image(picture)
    ours, sizes = mask2former.load("nuclei", str(device)).infer(image)
    theirs, expected_sizes = mask2former.load("nuclei", "cpu").infer(image)
    assert sizes == expected_sizes
    assert ours.class_logits.device.type == device.type
    assert nearly_equal(ours.class_logits, theirs.class_logits)
    assert nearly_equal(ours.mask_logits(), theirs.mask_logits())


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_results_are_those_of_the_cpu(device: torch.device, task: Any) -> None:
    image = read_image(min(DEMO.glob("*.png")))
    maps = [
        mask2former.load("nuclei", name).segment(image, task, 0.5) for name in (str(device), "cpu")
    ]
    match task:
        case "instance":
            ours, theirs = (np.sort(found.scores) for found in maps)
            np.testing.assert_allclose(ours, theirs, atol=1e-2)
        case "panoptic":
            assert np.mean((maps[0].ids > 0) == (maps[1].ids > 0)) > 0.999
        case "semantic":
            assert np.mean(maps[0].labels == maps[1].labels) > 0.999


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_runs_in_every_precision(
    device: torch.device, precision: Any, tiny: Tiny, tmp_path: Path
) -> None:
    try:
        check_precision(precision, device)
    except ValueError as refused:
        pytest.skip(str(refused))
    train(tiny(f"train.precision={precision}"), tmp_path / "run", device=device)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [record["loss"] for record in map(json.loads, lines) if "loss" in record]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)


def test_loss_is_that_of_the_cpu(device: torch.device, tiny: Tiny, batch: Batch) -> None:
    """At all pixels, as random points are drawn anew on each device."""
    config = tiny("loss.match_on=pixels", "loss.supervise_on=pixels")
    network, criterion = build_model(config.model, 4).eval(), build_criterion(config.loss)
    expected = criterion(network(batch.images.float()), batch.targets)
    moved = batch.to(device)
    found = criterion(network.to(device)(moved.images.float()), moved.targets)
    for name, term in expected.items():
        assert found[name].item() == pytest.approx(term.item(), rel=1e-3, abs=1e-5), name


def match_in_order(predictions: Sequence, targets: Sequence, generators: Any) -> list[list[Match]]:
    """Stands for the assignment, the one thing that the host does."""
    places = [torch.arange(target.labels.shape[0]) for target in targets]
    return [[Match(place, place) for place in places] for _ in predictions]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_network_and_loss_never_wait_for_the_device(
    cuda: torch.device, tiny: Tiny, batch: Batch, precision: torch.dtype
) -> None:
    config = tiny()
    network = build_model(config.model, 4).to(cuda)
    criterion = replace(build_criterion(config.loss), matcher=match_in_order)  # pyrefly: ignore
    moved = batch.to(cuda)
    for watch in (nullcontext, no_waiting):  # the first may set up libraries, and wait for that
        torch.cuda.synchronize()
        with watch():
            with torch.autocast("cuda", precision, enabled=precision != torch.float32):
                predictions = network(moved.images.float())
            terms = criterion(predictions, moved.targets)
            torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(term) for term in terms.values())


def test_matching_waits_once(cuda: torch.device, tiny: Tiny, batch: Batch) -> None:
    config = tiny()
    network = build_model(config.model, 4).to(cuda)
    matcher = build_criterion(config.loss).matcher
    moved = batch.to(cuda)
    with torch.no_grad():
        predictions = network(moved.images.float())
        matcher(predictions, moved.targets, [None, None])
        torch.cuda.synchronize()
        with no_waiting():
            for picture, target in enumerate(moved.targets):
                matcher.costs(predictions, picture, target, None)
        with pytest.raises(RuntimeError, match="synchroniz"), no_waiting():
            matcher(predictions, moved.targets, [None, None])
