"""A device, a tiny network and a batch. Tests of absent devices are skipped, and say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mask2former.config import Config, override_config, parse_config
from mask2former.structures import Batch, Targets

TINY = {
    "model": {
        "dim": 32,
        "backbone": {"kind": "swin", "embed_dim": 8, "depths": [2] * 4, "heads": [1] * 4},
        "pixel_decoder": {"layers": 1, "heads": 4, "feedforward": 32},
        "transformer_decoder": {"layers": 3, "heads": 4, "feedforward": 32, "num_queries": 8},
    },
    "loss": {"num_points": 128},
    "data": {
        "format": "shapes",
        "fold": [0, 5],
        "first": 4,
        "workers": 0,
        "augmentation": {"kind": "fit", "size": [64, 64]},
    },
    "train": {"steps": 3, "batch_size": 2, "evaluate_every": 100, "log_every": 1},
    "test": {"task": "instance", "short_edge": 64, "max_size": 96, "show_threshold": 0.0},
}


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    return torch.device("cuda", 0)


@pytest.fixture(params=["cuda", "mps"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Every kind of accelerator, computing fp32 in full."""
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not there[request.param]():
        pytest.skip(f"this machine has no {request.param} device")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device(request.param)


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """Tiny settings with dotted overrides: `tiny("train.steps=2")`."""
    return lambda *overrides: override_config(parse_config(TINY, "the tests"), overrides)


@pytest.fixture
def batch() -> Batch:
    """Two pictures with three and no objects."""
    ids = torch.randint(0, 4, (1, 1, 64, 96), dtype=torch.int32)
    targets = [
        Targets(ids, torch.tensor([0, 1, 2])),
        Targets(torch.zeros_like(ids), torch.zeros(0, dtype=torch.int64)),
    ]
    images = torch.randint(0, 256, (2, 1, 3, 64, 96), dtype=torch.uint8)
    return Batch(images, targets, ["a", "b"])
