"""The `convert` command, and foreign weights where a model is asked for."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import mask2former
from mask2former import cli
from mask2former.checkpoint import load_model
from mask2former.config import override_config


@pytest.fixture
def official(forge, tmp_path, monkeypatch):
    """An official file of Cityscapes' panoptic classes."""
    monkeypatch.chdir(tmp_path)
    return forge.save(
        tmp_path / "model_final_4ab90c.pkl", forge.official(forge.weights(forge.small(), 19))
    )


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command; give its exit status and what it printed."""

    def command(*words: object):
        monkeypatch.setattr(sys, "argv", ["mask2former", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capsys.readouterr()

    return command


def test_official_file_becomes_a_model_folder_and_one_of_transformers(official, tmp_path, run):
    status, printed = run("convert", official, "ours")
    assert status == 0
    assert "panoptic, 19 classes: road, " in printed.out
    assert "model licence: CC BY-NC 4.0" in printed.out
    assert "next: `mask2former predict PICTURES --model ours`" in printed.out
    assert run("convert", "ours", "theirs", "--to", "huggingface")[0] == 0
    first, card = load_model(official)
    for folder in ("ours", "theirs"):
        again, again_card = load_model(tmp_path / folder)
        assert again_card == card
        assert all(
            torch.equal(a, b)
            for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
        )


def test_recipe_says_what_the_shapes_cannot(official, tmp_path, run):
    assert run("convert", official, "ours", "--recipe", "cityscapes/semantic/r50")[0] == 0
    assert load_model(tmp_path / "ours")[1].config.test.task == "semantic"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["FILE", "new", "--to", "tensorflow"], "choose mask2former or huggingface"),
        (["FILE", "new", "--recipe", "cityscapes/semantic/r5"], "no recipe"),
        (["FILE", "full"], "full exists and is no empty folder"),
        (["FILE", "FILE"], "exists and is no empty folder"),
        (["absent.pkl", "new"], "absent.pkl"),
        (["nuclei", "new", "--to", "huggingface"], "transformers' Mask2Former cannot hold"),
        (["nuclei", "new", "--recipe", "nuclei"], "has settings of its own"),
    ],
)
def test_faults_are_one_sentence(official, tmp_path, run, words, sentence):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    status, printed = run("convert", *(official if word == "FILE" else word for word in words))
    assert status == 2
    assert sentence in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_what_was_assumed_is_said_once_on_stderr(forge, tmp_path, caplog):
    path = forge.save(tmp_path / "a.pkl", forge.official(forge.weights(forge.small(), 150)))
    load_model(path)
    (record,) = caplog.records
    assert "a.pkl may be ade20k/semantic/" in record.getMessage()


def test_file_is_a_model_wherever_one_is_asked_for(official):
    predictor = mask2former.load(str(official), device="cpu")
    config = override_config(predictor.card.config, ["test.short_edge=64", "test.max_size=96"])
    predictor.card = replace(predictor.card, config=config)
    result = predictor(np.zeros((40, 60, 3), dtype=np.uint8), task="semantic")
    assert result.labels.shape == (40, 60)
