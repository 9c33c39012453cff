"""Settings that are wrong: one sentence with the key, the nearest known one, and status 2."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

WORDS: dict[str, tuple[str, str]] = {
    "a wrong key": ("train.setps=3", "unknown setting 'train.setps'; did you mean 'steps'?"),
    "a wrong branch": ("trian.steps=3", "unknown setting 'trian'; did you mean 'train'?"),
    "a wrong deep key": (
        "model.pixel_decoder.layer=3",
        "unknown setting 'model.pixel_decoder.layer'; did you mean 'layers'?",
    ),
    "a key unlike all": ("data.zzz=3", "unknown setting 'data.zzz'"),
    "text for a number": ("train.steps=soon", "train.steps: Input should be a valid integer"),
    "a fraction of a step": ("train.steps=2.5", "train.steps: Input should be a valid integer"),
    "no steps": ("train.steps=0", "train.steps: Input should be greater than or equal to 1"),
    "NaN": ("train.learning_rate=.nan", "train.learning_rate: Input should be"),
    "infinite": ("train.learning_rate=.inf", "train.learning_rate: Input should be"),
    "a list for a number": ("train.steps=[1]", "train.steps: Input should be a valid integer"),
    "a number for a branch": ("model.backbone=3", "model.backbone: "),
    "an unknown kind": ("model.pixel_decoder.kind=fnp", "there is no kind 'fnp'; choose"),
    "an unknown word": (
        "model.transformer_decoder.attention=maskd",
        "Input should be 'masked', 'full'",
    ),
    "an order that lacks one": (
        "model.transformer_decoder.order=[self,ffn]",
        "must name cross, self and ffn once each",
    ),
    "heads that do not divide": ("model.dim=30", "model: dim=30 cannot be divided among 4 heads"),
    "no heads": ("model.transformer_decoder.heads=0", "model.transformer_decoder.heads: "),
    "no width": ("model.dim=0", "model.dim: "),
    "a negative width": ("model.dim=-4", "model.dim: "),
    "a batch that cannot be cut": (
        "train.accumulation=3",
        "train.batch_size=2 cannot be cut into train.accumulation=3 equal micro-batches",
    ),
    "a fold outside": ("data.fold=[5,5]", "fold=[5, 5] must be [k, n] with 0 <= k < n and n > 1"),
    "nothing to train on": ("data.first=0", "data.first: "),
    "pictures of no size": ("test.short_edge=0", "test.short_edge: "),
    "no value": ("train.steps", "'train.steps' is no setting; write key=value, as in train.ste"),
    "no YAML": ("train.steps=[1", "'train.steps=[1': the value is no YAML"),
    "a value and a branch": ("model=3", "model: 3 is no branch of settings; set model.KEY=..."),
    "nothing": ("=3", "unknown setting ''"),
}


@pytest.mark.parametrize(("word", "sentence"), WORDS.values(), ids=WORDS)
def test_wrong_setting_is_named(
    word: str, sentence: str, command: Callable, recipe: Path, tmp_path: Path
) -> None:
    said = command("train", recipe, word, "--output", tmp_path / "run", "--device", "cpu")
    assert said.status == 2
    assert sentence in said.complaint
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
    ids=repr,
)
def test_full_memory_is_said(
    error: Exception, command: Callable, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mask2former.engine.api.run", fail)
    said = command("train", recipe)
    assert said.status == 2
    assert "the memory is full; " in said.complaint
    assert "to train, lower train.batch_size" in said.complaint


@pytest.fixture
def recipe(tmp_path: Path, settings: dict) -> Path:
    path = tmp_path / "mine.yaml"
    tree = settings | {"data": settings["data"] | {"format": "shapes", "fold": [0, 5], "first": 3}}
    path.write_text(str(tree))  # which is YAML too
    return path


TEXTS: dict[str, tuple[str, str]] = {
    "no YAML": ("train: [", "not a YAML file ("),
    "no text": ("\xff\xfe\x00", "not a YAML file ("),
    "a control character": ("train: \x07", "not a YAML file ("),
    "a list": ("- train", "a recipe is a mapping of settings"),
    "a tag": ("train: !!python/object/apply:os.system [ls]", "not a YAML file ("),
    "a branch in itself": ("train: &a\n  steps: *a", "train.steps: Input should be"),
    "a number as key": ("3: 4", "3: Keys should be strings"),
    "itself": ("extends: mine.yaml", "the recipes extend each other in a circle"),
    "a missing base": ("extends: gone.yaml", "no recipe file "),
    "an unknown base": ("extends: nucleii", "no recipe 'nucleii'; did you mean 'nuclei'?"),
    "a list of bases": ("extends: [nuclei]", "mine.yaml: 'extends' names one recipe"),
}


@pytest.mark.parametrize(("text", "sentence"), TEXTS.values(), ids=TEXTS)
def test_wrong_recipe_is_named(text: str, sentence: str, command: Callable, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="latin-1")
    said = command("train", path, "--output", tmp_path / "run")
    assert said.status == 2
    assert sentence in said.complaint
    assert not (tmp_path / "run").exists()


CARDS: dict[str, tuple[str, str]] = {
    "empty": ("", "not valid JSON"),
    "no JSON": ("{", "not valid JSON"),
    "deep": ("[" * 100_000, "not valid JSON"),
    "of another kind": ('{"architectures": []}', "format"),
    "a list": ("[]", "expected a JSON object, found a list"),
    "no settings": ('{"format": "mask2former/1", "categories": []}', "has no 'config'"),
    "settings of another kind": (
        '{"format": "mask2former/1", "config": 3, "categories": []}',
        "config.json: ",
    ),
    "no classes": ('{"format": "mask2former/1", "config": {}, "categories": []}', "config.json: "),
    "classes of another kind": (
        '{"format": "mask2former/1", "config": {}, "categories": {"1": 2}}',
        "config.json: ",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), CARDS.values(), ids=CARDS)
def test_wrong_card_of_a_model_is_named(
    text: str, sentence: str, command: Callable, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "p.png").touch()
    said = command("predict", tmp_path / "p.png", "--model", tmp_path)
    assert said.status == 2
    assert str(tmp_path) in said.complaint
    assert sentence in said.complaint
