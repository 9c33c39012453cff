"""The network and its loss live on one device and never wait for it, shown on a pretended GPU.

Fake tensors have a device but no values: to read one on the host (`.item()`, `if tensor`, an index
by a bool mask), or to mix devices, is an error there, and copies are listed. So a machine without a
GPU finds what would be slow on one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mask2former.build import build_criterion, build_model
from mask2former.config import parse_config
from mask2former.loss.criterion import Criterion
from mask2former.model.mask2former import Mask2Former
from mask2former.structures import Match, Prediction, Targets

GPU = torch.device("cuda", 0)
DECODER = {"layers": 3, "heads": 4, "feedforward": 32, "num_queries": 6}
SWIN = {
    "dim": 32,
    "backbone": {"kind": "swin", "embed_dim": 8, "depths": [2] * 4, "heads": [1] * 4, "window": 4},
    "pixel_decoder": {"layers": 1, "heads": 4, "points": 2, "feedforward": 32},
    "transformer_decoder": DECODER,
}
NETWORKS = {
    "swin": SWIN,
    "resnet": {**SWIN, "backbone": {"name": "resnet18"}, "pixel_decoder": {"kind": "fpn"}},
    "clip": {**SWIN, "transformer_decoder": {**DECODER, "position": "3d"}},
    "placed": {
        **SWIN,
        "placed_masks": True,
        "transformer_decoder": {
            "layers": 3,
            "heads": 4,
            "feedforward": 32,
            "position": "pixels",
            "queries": {"spacing": 16},
        },
    },
}


class Copies(TorchDispatchMode):
    """Lists the operators that see tensors of more than one device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, out))
        devices = {leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)}
        if len(devices) > 1:
            self.found.append(f"{func} of {devices}")
        return out


def pretend() -> FakeTensorMode:
    """Inside, tensors have no values."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def build(model: dict) -> Mask2Former:
    return build_model(parse_config({"model": model}, "test").model, 4)


def predict(network: Mask2Former) -> list[Prediction]:
    """Two clips of two frames."""
    return network(torch.empty(2, 2, 3, 64, 96, device=GPU))


def make_targets() -> list[Targets]:
    ids = torch.zeros(1, 2, 64, 96, dtype=torch.int32, device=GPU)
    return [Targets(ids, torch.zeros(count, dtype=torch.int64, device=GPU)) for count in (3, 2)]


def match_in_order(
    predictions: Sequence[Prediction], targets: Sequence[Targets], generators: Any
) -> list[list[Match]]:
    """Stands for the assignment, which is the host's work."""
    places = [torch.arange(target.labels.shape[0]) for target in targets]
    return [[Match(place, place) for place in places] for _ in predictions]


def test_pretended_gpu_finds_reads_and_copies() -> None:
    with pretend():
        tensor = torch.ones(3, device=GPU)
        with pytest.raises(DataDependentOutputException):
            tensor.sum().item()
        with pytest.raises(DynamicOutputShapeException):
            tensor[tensor > 0]
        with Copies() as copies:
            tensor.new_tensor([1.0, 2.0]).cpu()
            tensor.new_full((2,), 1.0).add_(1)
        assert len(copies.found) == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_network_stays_on_its_device(name: str) -> None:
    network = build(NETWORKS[name])
    with pretend():
        network.to_empty(device=GPU)
        with Copies() as copies:
            predictions = predict(network)
            network.eval()(torch.empty(1, 3, 64, 96, device=GPU))
    assert {leaf.device for leaf in tree_leaves(predictions)} == {GPU}
    assert copies.found == []


@pytest.mark.parametrize("match_on", ["points", "pixels"])
def test_matching_costs_stay_on_the_device(match_on: str) -> None:
    network = build(SWIN)
    loss = parse_config({"loss": {"match_on": match_on, "num_points": 64}}, "test").loss
    matcher = build_criterion(loss).matcher
    with pretend():
        predictions, targets = predict(network.to_empty(device=GPU)), make_targets()
        with Copies() as copies:
            costs = matcher.costs(predictions, 0, targets[0], None)
    assert costs.device == GPU
    assert costs.shape == (4, 6, 3)
    assert copies.found == []


@pytest.mark.parametrize("supervise_on", ["uncertain_points", "random_points", "pixels"])
def test_loss_only_sends_the_matches_to_the_device(supervise_on: str) -> None:
    network = build(SWIN)
    loss = parse_config({"loss": {"supervise_on": supervise_on, "num_points": 64}}, "test").loss
    criterion = replace(build_criterion(loss), matcher=match_in_order)  # pyrefly: ignore
    with pretend():
        predictions, targets = predict(network.to_empty(device=GPU)), make_targets()
        with Copies() as copies:
            terms = criterion(predictions, targets)
    assert {term.device for term in terms.values()} == {GPU}
    assert len(copies.found) == 3 * len(targets), copies.found


def test_matching_waits_for_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = build(SWIN)(torch.rand(2, 3, 64, 64) * 255)
    ids = torch.randint(0, 4, (1, 1, 64, 64), dtype=torch.int32)
    targets = [Targets(ids, torch.tensor([0, 1, 2])), Targets(ids, torch.tensor([3, 1, 2]))]
    copied: list[Tensor] = []
    to_host: Callable[[Tensor], Tensor] = Tensor.cpu

    def record(tensor: Tensor) -> Tensor:
        copied.append(tensor)
        return to_host(tensor)

    monkeypatch.setattr(Tensor, "cpu", record)
    Criterion()(predictions, targets)
    assert len(copied) == 1
