"""A tiny network that is served, and a command that runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("httpx2", reason="TestClient speaks through it")

from fastapi.testclient import TestClient

from mask2former.build import build_model
from mask2former.card import ModelCard
from mask2former.checkpoint import save_model
from mask2former.config import parse_config
from mask2former.data import Shapes
from mask2former.engine.predict import Predictor, load
from mask2former.serve.app import create_app

TINY = {
    "model": {
        "dim": 16,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 16, "heads": 4},
        "transformer_decoder": {"layers": 1, "heads": 4, "feedforward": 16, "num_queries": 8},
    },
    "test": {"task": "instance", "short_edge": 64, "max_size": 96, "show_threshold": 0.0},
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the folder of a tiny network, of other pictures than RGB: `tiny(4)`."""

    def write(channels: int | None = None) -> Path:
        torch.manual_seed(0)
        tree = TINY
        if channels is not None:
            own = {"mean": [100.0] * channels, "std": [50.0] * channels}
            tree = {**TINY, "model": {**TINY["model"], **own}, "data": {"channels": channels}}
        config, categories = parse_config(tree, "the tests"), Shapes(1).categories
        folder = tmp_path_factory.mktemp("models") / "tiny"
        network = build_model(config.model, len(categories))
        save_model(folder, network, ModelCard(config, categories, licence="none, it is a test"))
        return folder

    return write


@pytest.fixture(scope="session")
def folder(tiny: Callable[..., Path]) -> Path:
    return tiny()


@pytest.fixture(scope="session")
def predictor(folder: Path) -> Predictor:
    return load(folder, "cpu")


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(create_app(predictor, "tiny", max_pixels=10_000)) as client:
        yield client


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph (JPEG) that its EXIF tag turns upright."""
    path = tmp_path_factory.mktemp("pictures") / "turned.jpg"
    image = Image.fromarray(Shapes(1, (50, 70)).image(0))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif, quality=90)
    return path
