"""What a run tells at its start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from mask2former.build import build_splits
from mask2former.config import load_config
from mask2former.engine.processes import ALONE
from mask2former.engine.telling import introduce


def write_maps(root: Path) -> None:
    values = np.zeros((8, 8), np.uint8)
    values[2:5] = 1
    for folder, pixels in (("images", np.zeros((8, 8, 3), np.uint8)), ("labels", values)):
        (root / folder).mkdir()
        Image.fromarray(pixels).save(root / folder / "a.png")


def test_one_class_of_maps_is_a_warning(tmp_path: Path) -> None:
    write_maps(tmp_path)
    words = ["data.format=label_maps", f"data.root={tmp_path}", "test.task=semantic"]
    for split in ("train", "val"):
        words += [f"data.{split}.images=images", f"data.{split}.annotations=labels"]
    for background, count in (("void", 1), ("class", 0)):
        more = ["data.classes=[background, cell]", f"data.background={background}"]
        config = load_config("tiny/shapes", [*words, *more])
        sets = build_splits(config.data, config.test.task)
        device = torch.device("cpu")
        lines = introduce(nn.Linear(2, 2), sets, config, device, team=ALONE, step=0)  # pyrefly: ignore
        warnings = [line for line in lines if line.startswith("warning: 'cell' is the only class")]
        assert len(warnings) == count
