"""A video split without labels gives the file that the benchmark's server takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former import cli, rle
from mask2former.build import build_model
from mask2former.categories import Categories, Category
from mask2former.checkpoint import ModelCard, save_model
from mask2former.cli.evaluate import submit
from mask2former.config import Config
from mask2former.data import YouTubeVIS
from mask2former.engine.predict import Predictor
from mask2former.engine.submission import write_submission
from mask2former.published import published_models
from mask2former.published.protocol import Protocol

CATEGORIES = Categories([Category(5, "cat", (0, 0, 0)), Category(9, "dog", (9, 9, 9))])
SIZE = (40, 50)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two videos of three frames and one, with classes and no annotations."""
    videos = []
    for number, length in ((12, 3), (4, 1)):
        names = [f"{number}/{frame}.png" for frame in range(length)]
        for name in names:
            file = tmp_path / "frames" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
        size = {"height": SIZE[0], "width": SIZE[1]}
        videos.append({"id": number, "file_names": names, **size})
    classes = [{"id": c.id, "name": c.name} for c in CATEGORIES]
    document = {"videos": videos, "categories": classes, "annotations": None}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return tmp_path


@pytest.fixture
def config(tiny: Callable[..., Config], data: Path) -> Config:
    return tiny(
        "model.transformer_decoder.position=3d",
        "data.format=youtube_vis",
        f"data.root={data}",
        "data.fold=null",
        "data.first=null",
        "data.val={images: frames, annotations: instances.json}",
        "test={task: instance, short_edge: 64, max_size: 96, max_detections: 4}",
    )


@pytest.fixture
def predictor(config: Config) -> Predictor:
    model = build_model(config.model, len(CATEGORIES))
    return Predictor(model, ModelCard(config, CATEGORIES, "mine"), torch.device("cpu"))


def check(path: Path) -> None:
    entries = json.loads(path.read_text())
    assert [entry["video_id"] for entry in entries] == [12] * 4 + [4] * 4
    lengths = {12: 3, 4: 1}
    for entry in entries:
        assert entry["category_id"] in (5, 9)
        assert 0 < entry["score"] < 1
        assert len(entry["segmentations"]) == lengths[entry["video_id"]]
        for mask in filter(None, entry["segmentations"]):
            assert rle.decode(mask).shape == SIZE


def test_results_bear_the_numbers_of_the_benchmark(
    predictor: Predictor, data: Path, tmp_path: Path
) -> None:
    dataset = YouTubeVIS(data / "frames", data / "instances.json", categories=CATEGORIES)
    assert not dataset.is_labelled
    check(write_submission(tmp_path / "results.json", predictor, dataset))


def test_split_without_labels_cannot_be_measured(data: Path) -> None:
    dataset = YouTubeVIS(data / "frames", data / "instances.json", categories=CATEGORIES)
    for ask in (dataset.truth, dataset.sample):
        with pytest.raises(ValueError, match=r"no annotations.*--predictions FOLDER"):
            ask(0)


def test_command_writes_the_submission(
    predictor: Predictor,
    config: Config,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_model(data / "model", predictor.model, predictor.card)
    (row,) = (row for row in published_models() if row.name == "youtubevis_2021/r50")
    official = Protocol(row, config.test, (row,))
    monkeypatch.setattr("mask2former.published.protocol.official_protocol", lambda *_: official)
    words = f"mask2former evaluate {data}/model --protocol official --output {data}/sent.json"
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"saved: {data}/sent.json (results of 2 videos)" in out
    assert "model licence: mine" in out
    assert "server" in out.splitlines()[-1]
    check(data / "sent.json")


def test_command_takes_the_first_videos_alone(predictor: Predictor, data: Path) -> None:
    config = predictor.card.config
    first = config.data.model_copy(update={"first": 1})
    predictor.card = replace(predictor.card, config=config.model_copy(update={"data": first}))
    assert submit(predictor, "val", data / "sent.json")
    entries = json.loads((data / "sent.json").read_text())
    assert {entry["video_id"] for entry in entries} == {12}
