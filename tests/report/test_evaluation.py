"""The page, tables and plots of an evaluation and of a run: whole, readable, self-contained."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.card import ModelCard
from mask2former.categories import Categories
from mask2former.config import parse_config
from mask2former.data import Shapes
from mask2former.metrics import Inspection
from mask2former.report.evaluation import Report, draw_plots, write_evaluation, write_rows
from mask2former.report.pictures import as_result, compare
from mask2former.report.plots import draw_classes, draw_confusion, draw_curves
from mask2former.report.run_report import write_run_report
from mask2former.structures import Instances, Panoptic, SemanticMap

TASKS = ("instance", "panoptic", "semantic")
SHAPES = {task: Shapes(5, (48, 64), task=task) for task in TASKS}
KINDS = {
    "instance": Instances([], np.zeros(0, int), np.zeros(0, np.float32), (1, 48, 64)),
    "panoptic": Panoptic(np.zeros((1, 48, 64), np.int32), []),
    "semantic": SemanticMap(np.zeros((1, 48, 64), np.int16)),
}


def perfect(task: str, index: int) -> object:
    """What a perfect model would say."""
    dataset = SHAPES[task]
    return as_result(dataset.truth(index), KINDS[task], 64, dataset.categories)


def inspected(task: str) -> tuple[Report, Inspection]:
    """An evaluation that is perfect but for picture 3, where nothing was found."""
    dataset = SHAPES[task]
    inspection = Inspection(dataset.categories, threshold=0.5)
    for index in range(5):
        inspection.update(
            index,
            KINDS[task] if index == 3 else perfect(task, index),  # pyrefly: ignore[bad-argument-type]
            dataset.truth(index),
        )
    rows = [{"name": name, "PQ": 0.5, "SQ": float("nan")} for name in dataset.categories.names]
    if task == "instance":
        inspection.curves = {name: np.linspace(1, 0, 101) for name in dataset.categories.names}
    return Report({"PQ": 0.5, "SQ": float("nan")}, rows, "the rules", 5, 1.5), inspection


@pytest.mark.parametrize("task", TASKS)
def test_folder_of_an_evaluation_is_whole(task: str, tmp_path: Path) -> None:
    report, inspection = inspected(task)
    drawn: list[int] = []

    def draw(index: int) -> Image.Image:
        drawn.append(index)
        return Image.new("RGB", (40, 20), "red")

    write_evaluation(
        tmp_path,
        "A <model>",
        task,  # pyrefly: ignore[bad-argument-type]
        report,
        inspection,
        name=lambda index: f"folder/{index}.png",
        draw=draw,
        about={"licence": "CC0"},
    )
    assert drawn[0] == 3
    assert (tmp_path / "worst" / "01_3.png").is_file()
    plots = {path.name for path in tmp_path.glob("*.png")}
    assert plots == {"confusion.png", "curves.png" if task == "instance" else "classes.png"}
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["licence"] == "CC0"
    assert document["summary"] == {"PQ": 0.5, "SQ": None}
    assert np.array_equal(document["confusion"]["counts"], inspection.confusion.counts)
    with (tmp_path / "pictures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"folder/{index}.png" for index in range(5)]
    assert float(rows[0]["score"]) == 1
    assert float(rows[3]["score"]) < 1
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;model&gt;" in page
    assert "folder/3.png" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # it needs nothing beside itself
    assert page.count("data:image") == 2 + len(drawn)
    assert ("true objects" in page) == (task != "semantic")


def test_perfect_model_confuses_nothing() -> None:
    for task in TASKS:
        counts = inspected(task)[1].confusion.counts
        off = counts - np.diag(counts.diagonal())
        if task == "semantic":  # picture 3 was called class 0 all over
            assert off[1:, 1:].sum() == 0
        else:
            assert off[:, :-1].sum() == 0
            assert off[:, -1].sum() > 0  # what picture 3 holds was missed


@pytest.mark.parametrize("task", TASKS)
def test_truth_is_drawn_beside_the_prediction(task: str) -> None:
    dataset = SHAPES[task]
    result = perfect(task, 1)
    both = compare(dataset.image(1), dataset.truth(1), result, dataset.categories)  # pyrefly: ignore[bad-argument-type]
    pixels = np.asarray(both)
    half = (pixels.shape[1] + 1) // 2
    assert both.width > 2 * 600
    left, right = pixels[60:600, 50:550], pixels[60:600, half + 3 + 50 : half + 3 + 550]
    assert left.std() > 10
    assert right.std() > 10


@pytest.mark.parametrize("task", TASKS)
def test_clip_shows_its_first_frame(task: str) -> None:
    """The truth of a clip is that of its frames side by side."""
    clip = Shapes(2, (48, 64), frames=3, task=task)
    shown = as_result(clip.truth(1), KINDS[task], 64, clip.categories)
    both = compare(clip.image(1), clip.truth(1), shown, clip.categories)
    one = compare(clip.image(1)[0], clip.truth(1), shown, clip.categories)
    assert np.array_equal(both, one)
    assert np.asarray(both).std() > 10


def test_rows_of_no_number_are_left_empty(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [{"name": "a,b", "AP": float("nan"), "n": 3}])
    assert (tmp_path / "a.csv").read_text() == 'name,AP,n\n"a,b",,3\n'
    write_rows(tmp_path / "b.csv", [])
    assert (tmp_path / "b.csv").read_text() == ""


@pytest.mark.parametrize("classes", [1, 3, 40])
def test_plots_stay_readable_whatever_the_number_of_classes(classes: int) -> None:
    names = [f"a class of a long name, number {n}" for n in range(classes)]
    draw = np.random.default_rng(0)
    counts = draw.integers(0, 90, (classes + 1, classes + 1))
    rows = [{"name": name, "IoU": draw.random()} for name in names]
    curves = {name: np.sort(draw.random(101))[::-1] for name in names}
    for picture in (
        draw_confusion(counts, names, "objects"),
        draw_classes([*rows, {"name": "absent", "IoU": float("nan")}], "IoU"),
        draw_curves(curves),
    ):
        assert 200 < picture.width < 2000
        assert 100 < picture.height < 2000


def test_report_of_no_measured_class_has_no_bars(tmp_path: Path) -> None:
    report, inspection = inspected("panoptic")
    rows = [{**row, "PQ": float("nan")} for row in report.per_class]
    assert set(draw_plots(report._replace(per_class=rows), inspection, "panoptic")) == {"confusion"}


def test_classes_in_words_are_ranked_and_cut() -> None:
    rows = [{"name": f"c{n}", "AP": n / 100, "AR": 1.0} for n in range(30)]
    rows.append({"name": "absent", "AP": float("nan"), "AR": 1.0})
    report = Report({"AP": 0.1}, rows, "", 1, 1.0)
    assert (
        report.classes_in_words(most=4)
        == "c29 0.290  c28 0.280  ... (26 more) ...  c1 0.010  c0 0.000"
    )


def test_page_of_a_run_has_settings_licence_and_pictures(tmp_path: Path) -> None:
    report, inspection = inspected("panoptic")
    config = parse_config({"test": {"task": "panoptic"}, "train": {"steps": 77}}, "the test")
    metrics = {"validation": {"PQ": 0.5}, "step": 40}
    card = ModelCard(config, SHAPES["panoptic"].categories, "CC-BY <4.0>", metrics)
    for file in ("results.png", "samples/b.png", "samples/a.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 20)).save(tmp_path / file)
    write_run_report(tmp_path, card, report, inspection, about={"steps": "40 of 77"})
    page = (tmp_path / "report.html").read_text()
    for text in ("CC-BY &lt;4.0&gt;", "train.steps", "40 of 77", "step 40: PQ 0.5000", "triangle"):
        assert text in page
    assert page.count("data:image") == 5
    assert page.index(">a<") < page.index(">b<")
    assert {path.name for path in tmp_path.glob("*.csv")} == {"classes.csv"}


def test_page_of_a_run_without_curves_is_written_all_the_same(tmp_path: Path) -> None:
    report, inspection = inspected("instance")
    config = parse_config({"test": {"task": "instance"}}, "the test")
    card = ModelCard(config, Categories(SHAPES["instance"].categories))
    write_run_report(tmp_path, card, report, inspection, about={})
    page = (tmp_path / "report.html").read_text()
    assert "Curves" not in page
    assert "best model" not in page
