"""Trackers: what is installed is used, and what is not is named before anything is trained."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mask2former.config import Config
from mask2former.engine.trackers import choose_trackers
from mask2former.engine.train import train


def test_missing_package_is_named_before_training(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = tiny("train.trackers=[wandb]")
    with pytest.raises(
        ValueError, match="names wandb, which is not installed; `pip install wandb`"
    ):
        train(config, tmp_path, device=torch.device("cpu"), say=lambda _: None)


def test_unknown_tracker_is_refused(tiny: Callable[..., Config]) -> None:
    with pytest.raises(ValueError, match=r"train\.trackers"):
        tiny("train.trackers=[excel]")


def test_events_lie_in_the_run_folder(tmp_path: Path) -> None:
    [own] = choose_trackers(["tensorboard"], tmp_path)
    assert not isinstance(own, str)
    own.start()
    own.log({"loss": 1.0}, step=1)
    own.finish()
    assert len(list((tmp_path / "events").iterdir())) == 1


@pytest.mark.usefixtures("undrawn")
def test_run_without_trackers_has_no_events(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny("train.trackers=[]", "train.steps=1")
    train(config, tmp_path, device=torch.device("cpu"), say=lambda _: None)
    assert not (tmp_path / "events").exists()
