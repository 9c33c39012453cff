"""What `explain` shows is what the network does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former.build import build_model
from mask2former.categories import Categories
from mask2former.checkpoint import ModelCard
from mask2former.config import load_config
from mask2former.data import Shapes
from mask2former.engine.insight import look_inside
from mask2former.engine.predict import Predictor
from mask2former.model.transformer_decoder import Attention

PICTURE = Shapes(1, (60, 83)).image(0)
DECODER = "model.transformer_decoder"
LEVELS = f"{DECODER}.levels"


def make(*settings: str, recipe: str = "tiny/shapes") -> Predictor:
    torch.manual_seed(0)
    config = load_config(recipe, ["test.short_edge=96", "test.max_size=200", *settings])
    categories = Categories.bundled("cityscapes_instance")
    network = build_model(config.model, len(categories))
    return Predictor(network, ModelCard(config, categories), torch.device("cpu"))


def test_weights_are_those_of_the_attention() -> None:
    torch.manual_seed(0)
    attention = Attention(16, heads=4)
    query, key, value = torch.randn(2, 3, 16), torch.randn(2, 9, 16), torch.randn(2, 9, 16)
    allowed = torch.rand(2, 3, 9) > 0.4
    for mask in (None, allowed):
        weights = attention.weigh(query, key, mask)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 3))
        values = attention.project(query, key, value)[2]
        read = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(read, attention(query, key, value, mask))
    prior = torch.randn(2, 4, 3, 9)
    weights = attention.weigh(query, key, prior)
    read = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(read, attention(query, key, value, prior))
    weights = attention.weigh(query, key, allowed)
    assert (weights.masked_select(allowed.logical_not().unsqueeze(1).expand(2, 4, 3, 9)) == 0).all()


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [f"{LEVELS}=[[32, 16, 8]]"],
        [f"{DECODER}.attention=full"],
        [f"{LEVELS}=[[8]]"],
        [f"{DECODER}.attention=smca"],
        [f"{DECODER}.attention=mask_pooling"],
    ],
    ids=["efficient multi-scale", "all scales at once", "full", "one scale", "SMCA", "pooling"],
)
def test_layers_are_seen_on_their_grids(settings: list[str]) -> None:
    predictor = make(*settings)
    found = look_inside(predictor, PICTURE, [5, 0])
    layers = predictor.card.config.model.transformer_decoder.layers
    assert found.queries == [5, 0]
    assert len(found.glances) == layers
    assert found.masks.shape == (layers + 1, 2, 24, 34)  # 96 x 133 in 96 x 160
    for layer, glance in enumerate(found.glances):
        finest = min(glance.strides)
        shape = (2, -(-96 // finest), -(-133 // finest))
        assert glance.attention.shape == glance.allowed.shape == shape, layer
        assert (glance.attention >= 0).all()
        assert (glance.attention.sum((1, 2)) <= 1 + 1e-4).all()
        assert (glance.attention[~glance.allowed] == 0).all()
        assert (glance.inside >= 0).all()
        assert (glance.inside <= 1 + 1e-4).all()
        if "full" in str(settings) or "smca" in str(settings):
            assert glance.allowed.all()


def test_without_names_the_surest_are_chosen() -> None:
    predictor = make()
    found = look_inside(predictor, PICTURE, most=4)
    scores = predictor.infer(PICTURE)[0].class_logits[0].softmax(-1)[:, :-1].max(-1).values
    assert found.scores == pytest.approx(scores.sort(descending=True).values[:4].tolist(), rel=1e-4)


def test_seen_networks_are_left_as_they_were() -> None:
    predictor = make()
    before = predictor.infer(PICTURE)[0].class_logits
    look_inside(predictor, PICTURE)
    assert not any(m._forward_pre_hooks for m in predictor.model.modules())
    torch.testing.assert_close(predictor.infer(PICTURE)[0].class_logits, before)


@pytest.mark.parametrize("query", [-1, 100])
def test_unknown_query_is_one_sentence(query: int) -> None:
    with pytest.raises(ValueError, match=f"no query {query}; the model has 100"):
        look_inside(make(), PICTURE, [query])


def test_video_models_are_refused() -> None:
    with pytest.raises(ValueError, match="explain takes picture models"):
        look_inside(make(recipe="tiny/clips"), PICTURE)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mask2former", "explain", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_command_draws_a_sheet_for_each_query(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "shapes.png")
    words = ("--model", "nuclei", "--most", "2", "--output", tmp_path / "o")
    done = run(tmp_path / "shapes.png", *words)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "o").iterdir())
    assert len(files) == 2
    assert all(str(file) in done.stdout for file in files)
    sheet = np.asarray(Image.open(files[0]))
    assert sheet.shape[1] > 6 * 240  # the mask, then six layers
    assert sheet.std() > 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--queries", "one"], "'one' is no number of a query"),
        (["--queries", "9999"], "no query 9999"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "shapes.png")
    done = run(tmp_path / "shapes.png", "--model", "nuclei", "--output", tmp_path / "o", *words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()
