"""A run folder keeps its figures in order and draws what there is."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.data import Shapes
from mask2former.report.run_folder import METRICS_FILE, RunFolder

LOSSES = {"loss": 4.0, "loss_ce": 1.0, "loss_mask": 2.0, "loss_dice": 1.0, "learning_rate": 1e-4}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "first")


def test_figures_are_lines_of_json(folder: RunFolder) -> None:
    assert folder.read() == []
    folder.record(1, {"loss": 2.0})
    folder.record(2, {"loss": 1.0})
    lines = (folder.path / METRICS_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == folder.read()
    assert folder.read()[1] == {"step": 2, "loss": 1.0}


def test_begin_takes_back_what_will_be_written_again(folder: RunFolder) -> None:
    for step in (1, 2, 3, 4):
        folder.record(step, {"loss": 1.0})
    folder.begin(2)
    assert [record["step"] for record in folder.read()] == [1, 2]
    folder.begin(0)
    assert folder.read() == []


def test_begin_writes_beside_and_renames(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.record(1, {"loss": 1.0})

    def kill(*_: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        with pytest.raises(OSError, match="killed"):
            folder.begin(0)
    assert [record["step"] for record in folder.read()] == [1]


def test_figures_that_are_no_number_are_null_and_read_as_nan(folder: RunFolder) -> None:
    folder.record(1, {"validation": {"AP": float("nan"), "AP50": 0.5}})
    folder.begin(1)
    assert (folder.path / METRICS_FILE).read_text() == (
        '{"step": 1, "validation": {"AP": null, "AP50": 0.5}}\n'
    )
    figures = folder.read()[0]["validation"]
    assert np.isnan(figures["AP"])
    assert figures["AP50"] == 0.5


def test_line_cut_by_a_crash_is_forgotten(folder: RunFolder) -> None:
    folder.record(1, {"loss": 1.0})
    with (folder.path / METRICS_FILE).open("a") as file:
        file.write('{"step": 2, "lo')
    folder.begin(1)
    folder.record(2, {"loss": 0.5})
    assert [record["step"] for record in folder.read()] == [1, 2]


def test_log_grows_by_lines(folder: RunFolder) -> None:
    folder.say("one")
    folder.say("two ü")
    assert (folder.path / "train.log").read_text(encoding="utf-8") == "one\ntwo ü\n"


def test_nothing_is_drawn_before_the_first_losses(folder: RunFolder) -> None:
    folder.record(1, {"validation": {"AP": 0.1}})
    folder.plot()
    assert not (folder.path / "results.png").exists()


@pytest.mark.parametrize("evaluated", [0, 2])
def test_curves_are_drawn_with_and_without_evaluations(folder: RunFolder, evaluated: int) -> None:
    for step in (1, 2, 3):
        folder.record(step, LOSSES)
    for step in range(evaluated):
        folder.record(step, {"validation": {"AP": 0.1 * step, "AP50": float("nan")}})
    folder.plot()
    with Image.open(folder.path / "results.png") as image:
        assert image.width > 2 * image.height > 400


def test_sample_is_written_under_its_name(folder: RunFolder) -> None:
    picture = Image.fromarray(Shapes(1, (32, 48)).image(0))
    folder.save_sample("picture", picture)
    with Image.open(folder.path / "samples" / "picture.png") as image:
        assert image.size == (48, 32)
