"""Training and measuring from Python: of folders, and of data sets of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import mask2former
from mask2former.categories import Categories
from mask2former.config import Config, dump_config
from mask2former.data import Dataset, Shapes
from mask2former.files import write_png
from mask2former.results import InstanceResult
from mask2former.structures import Sample, Truth

pytestmark = pytest.mark.usefixtures("undrawn")
Tiny = Callable[..., Config]


class Mine(Dataset):
    """A data set as a person writes one, of pictures that are in no file."""

    categories = Shapes(1, task="instance").categories

    def __init__(self, count: int) -> None:
        self.shapes = Shapes(count, (64, 64), task="instance")

    def __len__(self) -> int:
        return len(self.shapes)

    def file(self, index: int) -> str:
        return f"mine {index}"

    def image(self, index: int) -> np.ndarray:
        return self.shapes.image(index)

    def sample(self, index: int) -> Sample:
        return self.shapes.sample(index)

    def truth(self, index: int) -> Truth:
        return self.shapes.truth(index)


@pytest.fixture
def recipe(tiny: Tiny, tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(dump_config(tiny("data.format=null", "data.fold=null"))))
    return str(path)


def test_data_of_ones_own_trains_and_is_measured(recipe: str, tmp_path: Path) -> None:
    said: list[str] = []
    folder = mask2former.train(
        recipe,
        "test.task=instance",
        "train.steps=2",
        output=tmp_path / "run",
        data=(Mine(4), Mine(2)),
        device="cpu",
        say=said.append,
    )
    assert any(line.startswith("4 training and 2 validation pictures") for line in said)
    predictor = mask2former.load(str(folder), device="cpu")
    assert isinstance(predictor(Mine(1).image(0), task="instance"), InstanceResult)
    report = mask2former.evaluate(predictor, Mine(2), "test.max_detections=5")
    assert report.pictures == 2
    again = mask2former.evaluate(str(folder), Mine(2), "test.max_detections=5", device="cpu")
    assert again.summary == pytest.approx(report.summary, nan_ok=True)
    assert predictor.card.config.test.max_detections == 100, "the one that was given stays"


def test_folder_trains_and_is_measured(tiny: Tiny, recipe: str, tmp_path: Path) -> None:
    root = tmp_path / "maps 2017"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    shapes = Shapes(6, (64, 64), task="semantic")
    for index in range(6):
        write_png(root / "images" / f"{index}.png", shapes.image(index))
        semantic = shapes.truth(index).semantic
        assert semantic is not None
        write_png(root / "masks" / f"{index}.png", semantic.astype(np.uint8))
    said: list[str] = []
    settings = ("train.steps=1", "test.task=semantic", f"data.root={root}")
    folder = mask2former.train(
        recipe, *settings, output=tmp_path / "run", device="cpu", say=said.append
    )
    assert any(line.startswith("data: ") for line in said)
    report = mask2former.evaluate(str(folder), root, device="cpu", say=said.append)
    assert "mIoU" in report.summary
    again = mask2former.train(
        None, "train.steps=2", output=folder, resume=True, device="cpu", say=said.append
    )
    assert again == folder
    assert any(line.startswith("step 2/2") for line in said)


def test_what_has_no_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train needs a recipe"):
        mask2former.train(None, output=tmp_path / "run")
    with pytest.raises(ValueError, match="name another recipe"):
        mask2former.train("auto", output=tmp_path / "run", data=(Mine(2), Mine(1)))


def test_classes_of_the_data_must_be_the_models(recipe: str, tmp_path: Path) -> None:
    class Other(Mine):
        categories = Categories.from_json([{"id": 1, "name": "cat"}])

    folder = mask2former.train(
        recipe,
        "test.task=instance",
        "train.steps=1",
        output=tmp_path / "run",
        data=(Mine(2), Mine(1)),
        device="cpu",
        say=lambda _: None,
    )
    with pytest.raises(ValueError, match="the model's classes are"):
        mask2former.evaluate(str(folder), Other(1), device="cpu")
