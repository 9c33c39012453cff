"""From annotations to pictures with the commands a person types, on the shipped CC0 pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mask2former
from mask2former.build import build_dataset
from mask2former.cli import main
from mask2former.config import Data, Split
from mask2former.engine.evaluate import evaluate
from mask2former.zoo import bundled_models

FIXTURE = Path(__file__).parent / "fixtures" / "nuclei"
DATA = [
    f"data.root={FIXTURE}",
    "data.train={images: images, annotations: instances.json}",
    "data.fold=[0, 2]",
    "data.workers=0",
]
SMALL = [
    "model.backbone.weights=null",
    "model.dim=32",
    "model.pixel_decoder.layers=1",
    "model.transformer_decoder.layers=2",
    "data.augmentation.crop=[64, 64]",
    "test.short_edge=96",
    "train.batch_size=2",
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["mask2former", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0


def test_a_run_is_trained_resumed_evaluated_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    cpu = ["--device", "cpu"]
    steps = ["train.steps=3", "train.log_every=1", "train.evaluate_every=3"]
    run(monkeypatch, "train", "nuclei", *DATA, *SMALL, *steps, "--output", folder, *cpu)
    more = ["train.steps=5", "train.evaluate_every=5", "--resume"]
    run(monkeypatch, "train", "nuclei", "--output", folder, *more, *cpu)
    said = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in said if "loss" in line] == [1, 2, 3, 4, 5]

    run(monkeypatch, "evaluate", folder, "--output", tmp_path / "figures.json", *cpu)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["pictures"] == 2
    assert 0 <= figures["summary"]["AP"] <= 1

    output = tmp_path / "seen"
    run(monkeypatch, "predict", FIXTURE / "images", "--model", folder, "--output", output, *cpu)
    names = {path.stem for path in (FIXTURE / "images").iterdir()}
    assert {path.stem for path in (output / "overlay").iterdir()} == names
    assert len(json.loads((output / "coco.json").read_text())["images"]) == len(names)
    assert "saved:" in capsys.readouterr().out


@pytest.fixture(scope="module")
def nuclei() -> mask2former.Predictor:
    return mask2former.load("nuclei", device="cpu")


def test_the_bundled_model_finds_nuclei(nuclei: mask2former.Predictor) -> None:
    split = Split(images=Path("images"), annotations=Path("instances.json"))
    data = Data(format="coco", root=FIXTURE)
    report = evaluate(nuclei, build_dataset(data, split, "instance"), "instance")
    assert report.summary["AP50"] > 0.6


def test_the_bundled_model_is_small_and_says_what_it_is(nuclei: mask2former.Predictor) -> None:
    folder = bundled_models()["nuclei"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12e6
    assert nuclei.card.licence
    assert nuclei.card.metrics["validation"]["AP50"] > 0.45


def test_the_bundled_model_answers_in_all_forms(nuclei: mask2former.Predictor) -> None:
    path = FIXTURE / "images" / "00071198d059ba7f.png"
    from_path = nuclei(path).filter(score=0.5)
    from_array = nuclei(np.asarray(Image.open(path).convert("RGB"))).filter(score=0.5)
    assert np.array_equal(from_path.masks, from_array.masks)
    assert from_path.masks.shape[1:] == (256, 256)
    assert len(from_path) > 10


@pytest.fixture(scope="module")
def street() -> mask2former.Predictor:
    return mask2former.load("street", device="cpu")


def test_the_bundled_street_reads_a_street_in_all_three_tasks(
    street: mask2former.Predictor,
) -> None:
    (picture,) = (Path(mask2former.__file__).parent / "demo" / "street").glob("*.png")
    names = street.categories.names
    labels = street(picture, task="semantic").labels
    assert labels[340, 240] == names.index("Road")
    assert labels[60, 240] == names.index("Sky")
    assert labels[180, 186] == names.index("Car")
    assert "Car" in {names[label] for label in street(picture, task="instance").labels}
    segments = street(picture).segments
    assert {"Road", "Sky", "Building", "Tree"} <= {names[s.label] for s in segments}


def test_the_bundled_street_is_small_and_says_that_it_is_for_research(
    street: mask2former.Predictor,
) -> None:
    assert sum(path.stat().st_size for path in bundled_models()["street"].iterdir()) < 12e6
    assert "research only" in street.card.licence
    assert street.card.metrics["validation"]["mIoU"] > 0.7
    assert [c.name for c in street.categories if c.is_thing] == ["Car", "Pedestrian", "Bicyclist"]
