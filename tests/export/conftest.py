"""Tiny networks, exported once each: tracing takes most of the time."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mask2former.build import build_model
from mask2former.card import ModelCard
from mask2former.checkpoint import save_model
from mask2former.config import parse_config
from mask2former.data import Shapes
from mask2former.export.export import export
from mask2former.export.plan import make_plan
from mask2former.model.deformable_attention import DeformableAttention
from mask2former.model.mask2former import Mask2Former

TINY = {
    "model": {
        "dim": 16,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 16, "heads": 4},
        "transformer_decoder": {"layers": 1, "heads": 4, "feedforward": 16, "num_queries": 8},
    },
    "data": {"format": "shapes", "fold": [0, 2], "first": 4, "workers": 0},
    "test": {
        "task": "instance",
        "short_edge": 64,
        "max_size": 96,
        "max_detections": 5,
        "threshold": 0.0,
        "overlap_threshold": 0.0,
        "show_threshold": 0.0,
    },
}


@pytest.fixture(scope="session")
def build() -> Callable[..., tuple[Mask2Former, ModelCard]]:
    """Makes a tiny network: `build("panoptic", position="3d")`."""
    return build_tiny


def build_tiny(task: str = "instance", **decoder: object) -> tuple[Mask2Former, ModelCard]:
    """A network whose samples are spread as if it had learnt."""
    torch.manual_seed(0)
    tree = {**TINY, "test": {**TINY["test"], "task": task}}
    tree["model"] = {
        **TINY["model"],
        "transformer_decoder": {**TINY["model"]["transformer_decoder"], **decoder},
    }
    config, categories = parse_config(tree, "the tests"), Shapes(1).categories
    network = build_model(config.model, len(categories)).eval()
    for module in network.modules():
        if isinstance(module, DeformableAttention):
            torch.nn.init.normal_(module.sampling_offsets.weight, std=0.3)
            torch.nn.init.normal_(module.attention_weights.weight, std=0.3)
    return network, ModelCard(config, categories, licence="none, it is a test")


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Exports a tiny network: `make("onnx", size=(64, 96))`."""

    def make(form: str, task: str = "instance", decoder: dict | None = None, **wishes) -> Path:
        network, card = build_tiny(task, **(decoder or {}))
        folder = tmp_path_factory.mktemp("exported")
        path = folder / ("model.onnx" if form == "onnx" else "model_openvino")
        export(network, card, make_plan(card, form, **wishes), path)
        return path

    return make


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny network."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, *build_tiny())
    return folder


@pytest.fixture(scope="session")
def onnx(make: Callable[..., Path]) -> Path:
    """For pictures of any size."""
    return make("onnx")


@pytest.fixture(scope="session")
def openvino(make: Callable[..., Path]) -> Path:
    """For pictures of any size."""
    return make("openvino")


@pytest.fixture(scope="session")
def results(make: Callable[..., Path]) -> Path:
    """Instances of pictures of one size, in OpenVINO's form."""
    return make("openvino", size=(64, 96), outputs="result")
