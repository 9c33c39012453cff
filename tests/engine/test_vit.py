"""A plain ViT as the backbone of a whole run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from mask2former.config import Config
from mask2former.engine.predict import load
from mask2former.engine.train import train

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("undrawn")


def silent(line: str) -> None:
    pass


@pytest.mark.parametrize("freeze", ["[]", "[backbone]"])
def test_vit_trains_and_predicts(freeze: str, tiny: Callable[..., Config], tmp_path: Path) -> None:
    given = timm.create_model("test_vit").state_dict()
    torch.save(given, tmp_path / "vit.pth")
    config = tiny(
        "train.steps=2",
        "model.backbone.name=test_vit",
        f"model.backbone.weights={tmp_path / 'vit.pth'}",
        f"train.freeze={freeze}",
        "train.gradient_checkpointing=true",
    )
    run = train(config, tmp_path / "run", device=CPU, say=silent)
    learned = load_file(run / "model.safetensors")
    for name, tensor in learned.items():
        if name.startswith("backbone.body."):
            same = torch.equal(tensor, given[name.removeprefix("backbone.body.")])
            assert same == (freeze == "[backbone]"), name
    result = load(run, device="cpu")(np.zeros((50, 60, 3), np.uint8))
    assert result.plain.ids.shape == (1, 50, 60)
