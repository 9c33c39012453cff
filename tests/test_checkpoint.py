"""A model folder holds all of a model; what is missing or does not fit is said in one sentence."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mask2former.build import build_model
from mask2former.categories import Categories
from mask2former.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelCard,
    load_card,
    load_model,
    save_card,
    save_model,
)
from mask2former.config import override_config, parse_config
from mask2former.model.mask2former import Mask2Former

TINY = {
    "dim": 32,
    "backbone": {"name": "test_efficientnet"},
    "pixel_decoder": {"layers": 1, "feedforward": 32},
    "transformer_decoder": {"layers": 1, "heads": 4, "feedforward": 32, "num_queries": 4},
}
CARD = ModelCard(
    parse_config({"model": TINY}, "a test"),
    Categories.from_json([{"id": 3, "name": "cat"}, {"id": 9, "name": "sky", "isthing": 0}]),
    licence="CC0-1.0",
    metrics={"validation": {"AP": 0.25}},
)


@pytest.fixture
def model() -> Mask2Former:
    return build_model(CARD.config.model, len(CARD.categories))


@pytest.fixture
def folder(tmp_path: Path, model: Mask2Former) -> Path:
    save_model(tmp_path / "model", model, CARD)
    return tmp_path / "model"


def test_round_trip_gives_equal_bits_and_card(folder: Path, model: Mask2Former) -> None:
    again, card = load_model(folder)
    assert card == CARD
    assert not again.training
    own, read = model.state_dict(), again.state_dict()
    assert own.keys() == read.keys()
    assert all(torch.equal(own[name], read[name]) for name in own)


def test_half_precision_is_stored_small_and_read_as_fp32(
    tmp_path: Path, model: Mask2Former
) -> None:
    save_model(tmp_path, model, CARD, dtype=torch.float16)
    stored = load_file(tmp_path / WEIGHTS_FILE)
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}
    read = load_model(tmp_path)[0].state_dict()
    for name, tensor in model.state_dict().items():
        assert read[name].dtype == tensor.dtype
        torch.testing.assert_close(read[name], tensor, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [(CONFIG_FILE, "no model folder: it has no config.json"), (WEIGHTS_FILE, "has no model.safe")],
)
def test_missing_file_is_named(folder: Path, missing: str, sentence: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=sentence):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_damaged_weights_are_named(folder: Path, keep: int) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is (empty|damaged)"):
        load_model(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"model_type": "mask2former"}', "holds no Mask2Former of the official code"),
        ('{"format": "mask2former/9"}', "not of the format mask2former/1"),
        ('{"format": "mask2former/1"}', "has no 'config'"),
    ],
)
def test_foreign_config_is_refused(folder: Path, text: str, sentence: str) -> None:
    (folder / CONFIG_FILE).write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_model(folder)


def test_unknown_setting_in_config_names_the_file(folder: Path) -> None:
    path = folder / CONFIG_FILE
    document = json.loads(path.read_text())
    document["config"]["model"]["dimm"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"config\.json: unknown setting 'model\.dimm'"):
        load_model(folder)


def test_weights_that_do_not_fit_are_counted_and_named(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    weights = load_file(path)
    weights["stranger"] = weights.pop("transformer_decoder.level_embed.weight")
    save_file(weights, path)
    save_card(
        folder,
        ModelCard(override_config(CARD.config, ["model.dim=16"]), CARD.categories),
    )
    with pytest.raises(ValueError, match=r"does not fit its config\.json") as fault:
        load_model(folder)
    sentence = str(fault.value)
    assert "1 missing (transformer_decoder.level_embed.weight)" in sentence
    assert "1 not known (stranger)" in sentence
    assert "of another shape (" in sentence
    assert ", ...)" in sentence


def test_figures_that_are_no_number_are_null_in_the_file(folder: Path) -> None:
    save_card(folder, replace(CARD, metrics={"validation": {"AP": 0.5, "APl": math.nan}}))
    assert "NaN" not in (folder / CONFIG_FILE).read_text()
    figures = load_card(folder).metrics["validation"]
    assert figures["AP"] == 0.5
    assert math.isnan(figures["APl"])
