"""A network small enough to train and ask within a second."""

from collections.abc import Callable

import pytest
import torch

from mask2former.build import build_model
from mask2former.checkpoint import ModelCard
from mask2former.config import Config, override_config, parse_config
from mask2former.data import Shapes
from mask2former.engine.predict import Predictor

TINY = {
    "model": {
        "dim": 32,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 32},
        "transformer_decoder": {"layers": 2, "heads": 4, "feedforward": 32, "num_queries": 8},
    },
    "loss": {"num_points": 128},
    "data": {
        "format": "shapes",
        "fold": [0, 5],
        "first": 8,
        "workers": 0,
        "augmentation": {"kind": "fit", "size": [64, 64]},
    },
    "train": {
        "steps": 6,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "backbone_factor": 1.0,
        "evaluate_every": 100,
        "save_every": 3,
        "log_every": 1,
    },
    "test": {
        "task": "panoptic",
        "short_edge": 64,
        "max_size": 96,
        "threshold": 0.0,
        "overlap_threshold": 0.0,
        "show_threshold": 0.0,
    },
}


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Config]:
    """Tiny settings with dotted overrides: `tiny("train.steps=2")`."""
    return lambda *overrides: override_config(parse_config(TINY, "the tests"), overrides)


@pytest.fixture(scope="session")
def predictor(tiny: Callable[..., Config]) -> Predictor:
    """A network with random weights that knows the four classes of `Shapes`."""
    torch.manual_seed(0)
    config = tiny()
    categories = Shapes(1).categories
    model = build_model(config.model, len(categories))
    return Predictor(model, ModelCard(config, categories, "none"), torch.device("cpu"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw nothing: the pictures of a tiny run take longer than its steps."""
    monkeypatch.setattr("mask2former.engine.train.draw_samples", lambda *_: None)
    monkeypatch.setattr("mask2former.report.run_folder.RunFolder.plot", lambda _: None)
    monkeypatch.setattr("mask2former.engine.train.write_run_report", lambda *_, **__: None)
