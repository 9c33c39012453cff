"""The command: quick help, one sentence and exit status 2 for faults, and the happy paths."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from PIL import Image

from mask2former import __version__, cli
from mask2former.build import build_model
from mask2former.categories import Categories
from mask2former.checkpoint import ModelCard, load_card, save_model
from mask2former.cli.evaluate import measure_tasks, print_report
from mask2former.cli.words import as_settings
from mask2former.config import Data, load_config, override_config
from mask2former.config.recipes import recipe_names
from mask2former.data import Dataset, Shapes
from mask2former.engine import train as training
from mask2former.engine.evaluate import Report
from mask2former.engine.predict import Predictor, load
from mask2former.published import find_published
from mask2former.published.protocol import Protocol

COMMANDS = ("predict", "train", "evaluate", "export", "serve", "models", "recipes")

RECIPE = {
    "model": {
        "dim": 32,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 32},
        "transformer_decoder": {"layers": 1, "heads": 4, "feedforward": 32, "num_queries": 4},
    },
    "loss": {"num_points": 64},
    "data": {
        "format": "shapes",
        "fold": [0, 5],
        "first": 3,
        "workers": 0,
        "augmentation": {"kind": "fit", "size": [64, 64]},
    },
    "train": {"steps": 2, "batch_size": 2, "save_every": 2, "log_every": 1},
    "test": {"task": "instance", "short_edge": 64, "max_size": 64, "show_threshold": 0.0},
}


class Said(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in this process: `command("predict", "a.png")`."""

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["mask2former", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert isinstance(end.value.code, int)
        return Said(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "mine.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.fixture(scope="module")
def model(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model folder, as a run leaves it."""
    folder = tmp_path_factory.mktemp("model") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "draw_samples", lambda *_: None)
        device = training.torch.device("cpu")
        return training.train(load_config(str(recipe)), folder, device=device, say=lambda _: None)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(Shapes(1).image(0)).save(tmp_path / "shapes.png")
    return tmp_path / "shapes.png"


def test_help_of_every_command_needs_no_torch() -> None:
    program = f"""
import sys
from typer.testing import CliRunner
from mask2former.cli import app
for arguments in [[], *([name] for name in {COMMANDS})]:
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output
assert not {{"torch", "timm", "pandas", "fastapi", "uvicorn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_module_answers_a_fault_with_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "mask2former", "predict", "gone.png", "--model", "gone"]
    ended = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("mask2former: gone.png: no such file")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("predict PICTURE --model gone", "no model 'gone'"),
        ("predict PICTURE --model .", "is no model folder"),
        ("predict PICTURE --model MODEL --task depth", "no task 'depth'; choose semantic, inst"),
        ("predict PICTURE --model MODEL --save labels", "cannot save 'labels' of instance"),
        ("predict PICTURE --model MODEL --device tpu", "no device 'tpu'"),
        ("predict nothing/*.png --model MODEL", "no file matches"),
        ("train nucleii", "did you mean 'nuclei'?"),
        ("train gone.yaml", "no recipe file gone.yaml"),
        ("train RECIPE train.setps=3", "did you mean 'steps'?"),
        ("train RECIPE train.steps", "write key=value"),
        ("train RECIPE train.steps=soon", "train.steps: Input should be a valid integer"),
        ("train RECIPE model.backbone.name=resnet5 --output new", "named 'resnet5'"),
        ("train", "train needs a recipe: auto, a .yaml file, or one that"),
        ("train MODEL", "is no recipe; `mask2former recipes "),
        ("train mine/config.json", "`mask2former recipes mine > mine.yaml` writes one"),
        ("train RECIPE train.epochs=5", "train.steps counts batches"),
        ("train RECIPE train.lr=5", "unknown setting 'train.lr'; the learning rate is"),
        ("train RECIPE --output MODEL", "holds a run already; give --resume"),
        ("train RECIPE --output new --resume", "holds no checkpoint to resume from"),
        ("train RECIPE --output new --from gone", "no model 'gone'"),
        ("train nuclei data.root=gone --output new", "instances_train.json"),
        ("evaluate gone", "no model 'gone'"),
        ("evaluate MODEL --split dev", "no split 'dev'; choose train or val or test"),
        ("evaluate MODEL --task depth", "no task 'depth'"),
        ("evaluate MODEL --protocol mine", "no protocol 'mine'; there is: official"),
        ("evaluate MODEL --protocol official", "nothing was published for instance segm"),
        ("models coco swin_x", "no model's name has coco and swin_x"),
        ("evaluate MODEL data.frist=3", "did you mean 'first'?"),
        (
            "evaluate MODEL --task semantic",
            "square, triangle, background, but the model's are circ",
        ),
        ("evaluate MODEL model.dim=8", "'model.dim=8': only data.* and test.* can be set"),
        ("evaluate MODEL train.steps=8", "'train.steps=8': only data.* and test.* can be set"),
        (
            "predict PICTURE --model MODEL --task semantic --threshold 0.5",
            "a semantic map gives every pixel a class; leave the threshold out",
        ),
        (
            "predict PICTURE --model MODEL --threshold 70",
            "threshold 70: a score is between 0 and 1",
        ),
        ("predict PICTURE train.steps=5 --model MODEL", "'train.steps=5': only test.* can be set"),
        ("predict PICTURE test.sort_edge=5 --model MODEL", "did you mean 'short_edge'?"),
        ("explain PICTURE model.dim=8 --model MODEL", "'model.dim=8': only test.* can be set"),
        ("benchmark MODEL test.short_edge=x", "the settings: test.short_edge: Input should be"),
        ("export MODEL --format onyx --output x", "--format onyx: choose openvino or onnx"),
        (
            "export MODEL --format onnx test.task=semantic",
            "'test.task=semantic' is for --outputs result",
        ),
        ("export MODEL --format onnx data.root=x", "'data.root=x': only test.* can be set"),
        ("train RECIPE model.backbone=resnet50", "model.backbone: no preset is called 'resnet50'"),
    ],
)
def test_fault_is_one_sentence_and_status_2(
    arguments: str,
    sentence: str,
    command: Command,
    recipe: Path,
    model: Path,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(picture.parent)
    stand_ins = {"RECIPE": recipe, "MODEL": model, "PICTURE": picture}
    said = command(*(stand_ins.get(word, word) for word in arguments.split()))
    assert said.status == 2
    assert sentence in said.err
    assert said.err.startswith("mask2former: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["predict"], ["predict", "a.png"], ["fly"], ["train", "-x"]])
def test_wrong_usage_is_status_2(arguments: list[str], command: Command) -> None:
    said = command(*arguments)
    assert said.status == 2
    assert said.err.startswith("Usage: ")


def test_train_says_what_it_wrote_and_what_is_next(
    command: Command, recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    said = command("train", recipe, "train.steps=1", "--output", folder, "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    assert "step 1/1  loss " in said.out
    assert f"saved: {folder} (best model" in said.out
    assert f"next: `mask2former predict PICTURES --model {folder}`" in said.out
    assert (folder / "model.safetensors").is_file()


def test_train_resumes_and_starts_from_a_model(
    command: Command, recipe: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "draw_samples", lambda *_: None)
    folder = tmp_path / "run"
    began = command("train", recipe, "train.steps=1", "--output", folder, "--from", model)
    assert "tensors taken over from" in began.out
    again = command("train", "train.steps=2", "--output", folder, "--resume")
    assert again.status == 0
    assert "steps 1 to 2" in again.out
    assert "step 1/2" not in again.out


def test_predict_writes_what_it_says(
    command: Command, model: Path, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = command("predict", picture, "--model", model, "--output", out, "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith(f"1/1 {picture}: 96x96  ")
    assert lines[1].startswith("1 pictures in ")
    saved = [Path(line.removeprefix("saved: ")) for line in lines if line.startswith("saved: ")]
    assert saved == [out / "coco.json", out / "overlay"]
    assert all(path.exists() for path in saved)
    assert lines[-2] == "model licence: not stated"
    assert lines[-1].startswith("next: ")


@pytest.mark.parametrize(
    ("task", "files"),
    [("panoptic", ["panoptic.json", "panoptic/shapes.png"]), ("semantic", ["labels/shapes.png"])],
)
def test_predict_takes_another_task(
    task: str, files: list[str], command: Command, model: Path, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = command("predict", picture, "--model", model, "--task", task, "--output", out)
    assert said.status == 0
    assert all((out / file).is_file() for file in files)


@pytest.mark.parametrize(
    ("task", "formats", "files"),
    [
        (
            "instance",
            "coco,coco_polygons,yolo,labelme,geojson,csv,masks",
            ["coco.json", "yolo/data.yaml", "yolo/labels/shapes.txt", "labelme/shapes.json"],
        ),
        ("panoptic", "panoptic, csv,geojson", ["panoptic/shapes.png", "objects.csv"]),
        ("semantic", "labels,labelme", ["labels/shapes.png", "labelme/shapes.json"]),
    ],
)
def test_predict_saves_many_formats_at_once(
    task: str,
    formats: str,
    files: list[str],
    command: Command,
    model: Path,
    picture: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    arguments = ("predict", picture, "--model", model, "--task", task, "--save", formats)
    said = command(*arguments, "--output", out)
    assert (said.status, said.err) == (0, "")
    assert all((out / file).is_file() for file in files)
    assert not (out / "overlay").exists()
    saved = [line for line in said.out.splitlines() if line.startswith("saved: ")]
    assert {Path(line.removeprefix("saved: ")) for line in saved} == set(out.iterdir())
    again = command(*arguments, "--output", out)  # its own results are no pictures
    assert again.status == 0


def test_predict_goes_on_after_a_broken_picture_with_status_2(
    command: Command, model: Path, picture: Path
) -> None:
    broken = picture.with_name("a.png")
    broken.write_bytes(b"")
    out = picture.parent / "out"
    said = command("predict", picture.parent, "--model", model, "--output", out, "--save", "coco")
    assert said.status == 2
    assert said.err == f"mask2former: {broken}: is empty\n"
    assert "1 could not be read" in said.out
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 1
    assert not (out / "overlay").exists()


def test_evaluate_prints_and_writes_the_figures(
    command: Command, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "figures.json"
    said = command("evaluate", model, "data.first=2", "--split", "train", "--output", path)
    assert (said.status, said.err) == (0, "")
    figures = json.loads(path.read_text())
    assert (figures["pictures"], figures["split"], figures["task"]) == (2, "train", "instance")
    assert f"{figures['summary']['AP']:.4f}" in said.out
    assert [row["name"] for row in figures["per_class"]] == ["circle", "square", "triangle"]
    assert f"saved: {path}" in said.out


def test_evaluate_writes_a_report(command: Command, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    said = command("evaluate", model, "data.first=3", "--report", folder)
    assert (said.status, said.err) == (0, "")
    assert f"saved: {folder}/report.html" in said.out
    assert "counts: " in said.out
    assert len(list((folder / "worst").iterdir())) == 3
    document = json.loads((folder / "evaluation.json").read_text())
    assert document["model"] == str(model)
    assert (folder / "classes.csv").read_text().startswith("name,")
    assert command("evaluate", model, "data.first=1", "--report", folder).status == 0
    assert len(list((folder / "worst").iterdir())) == 1, "no picture of an earlier report is left"


def test_evaluate_opens_the_wanted_split_alone(
    command: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def build(data: Data, split: str, task: str, categories: Categories) -> Dataset:
        opened.append(split)
        assert categories.names == ["circle", "square", "triangle"]
        return Shapes(1, task="instance")

    monkeypatch.setattr("mask2former.build.build_split", build)
    assert command("evaluate", model, "--split", "train").status == 0
    assert opened == ["train"]


def test_evaluate_measures_the_task_that_the_settings_name(
    command: Command, model: Path, tmp_path: Path
) -> None:
    said = command("evaluate", model, "data.first=1", "test.task=panoptic")
    assert said.status == 2  # objects alone, for a map of objects and background
    assert "background" in said.err


def test_predict_takes_test_settings_beside_the_pictures(
    command: Command, model: Path, picture: Path, tmp_path: Path
) -> None:
    arguments = (picture, "test.max_detections=1", "--model", model, "--output", tmp_path)
    said = command("predict", *arguments, "test.short_edge=48", "--threshold", "0")
    assert (said.status, said.err) == (0, "")
    assert "1 pictures in" in said.out
    assert len(json.loads((tmp_path / "coco.json").read_text())["annotations"]) == 1


def test_evaluate_writes_what_a_server_takes(
    command: Command, model: Path, picture: Path, tmp_path: Path
) -> None:
    labelled = tmp_path / "labelled"
    said = command("evaluate", model, "data.first=2", "--predictions", labelled)
    assert (said.status, said.err) == (0, "")
    assert f"saved: {labelled / 'instances.json'}" in said.out
    assert {one["image_id"] for one in json.loads((labelled / "instances.json").read_text())} == {
        1,
        2,
    }
    names = ("circle", "square", "triangle")
    classes = [{"id": place, "name": name} for place, name in enumerate(names)]
    images = [{"id": 77, "file_name": picture.name, "height": 96, "width": 96}]
    (tmp_path / "test.json").write_text(json.dumps({"images": images, "categories": classes}))
    settings = (
        "data.format=coco",
        "data.fold=null",
        "data.first=null",
        f"data.root={tmp_path}",
        "data.val={images: ., annotations: test.json}",
    )
    kept = command("evaluate", model, *settings, "--predictions", tmp_path / "sent")
    assert (kept.status, kept.err) == (0, "")
    assert "nothing is measured, as the split has no annotations" in kept.out
    sent = json.loads((tmp_path / "sent" / "instances.json").read_text())
    assert sent
    assert {one["image_id"] for one in sent} == {77}
    refused = command("evaluate", model, *settings)
    assert refused.status == 2
    assert "`evaluate --predictions FOLDER` writes what they take" in refused.err


def test_predict_says_where_pictures_are_shrunk_much(
    command: Command, model: Path, picture: Path, tmp_path: Path
) -> None:
    arguments = ("predict", picture, "--model", model, "--output", tmp_path / "out")
    assert "shrunk" not in command(*arguments).out
    with Image.open(picture) as small:
        small.resize((400, 300)).save(picture)
    said = command(*arguments)
    assert "note: pictures were shrunk up to 6.2 times" in said.out
    assert "--tile 64" in said.out
    assert "shrunk" not in command(*arguments, "--tile", "128").out


def test_figures_that_are_no_number_are_null(command: Command, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    command("evaluate", model, "data.first=1", "--task", "instance", "--output", path)
    text = path.read_text()
    assert "NaN" not in text
    assert json.loads(text)["summary"]["AP_large"] is None


def test_all_figures_of_pq_are_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    qualities = [name + part for part in ("", "_things", "_stuff") for name in ("PQ", "SQ", "RQ")]
    summary = {name: 0.12345 + place for place, name in enumerate(qualities)}
    rows = [{"name": f"a class with a long name {i}", **summary} for i in range(2)]
    print_report(Report(summary, rows, "a rule " * 30, 1, 0.0))
    out = capsys.readouterr().out
    for place, name in enumerate(qualities):
        assert re.search(rf"│ {name} +│ {place}\.12\d\d │\n", out)
    assert "a class with a long name 1 │ 0.1235 │ 1.1235" in out
    assert "…" not in out
    assert "a rule " * 30 in out


def test_version_is_told(command: Command) -> None:
    said = command("--version")
    assert (said.status, said.out, said.err) == (0, f"mask2former {__version__}\n", "")


def test_predict_leaves_out_what_it_wrote_before(
    command: Command, model: Path, picture: Path
) -> None:
    arguments = ("predict", picture.parent, "--model", model, "--output", picture.parent / "out")
    assert command(*arguments).out.count("shapes.png: ") == 1
    again = command(*arguments)
    assert again.out.startswith("1 earlier results below ")
    assert "1/1 " in again.out


def test_command_takes_as_many_threads_as_a_container_has_cores(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for allowed, threads in ((None, "unset"), (64, "unset"), (3, "3"), (2, "3")):
        monkeypatch.setattr(cli, "allowed_cores", lambda allowed=allowed: allowed)
        if allowed != 2:  # a number that a person has set stays
            monkeypatch.setenv("OMP_NUM_THREADS", "1")
            monkeypatch.delenv("OMP_NUM_THREADS")
        command("--version")
        assert os.environ.get("OMP_NUM_THREADS", "unset") == threads


def test_recipes_are_listed(command: Command) -> None:
    said = command("recipes")
    assert said.status == 0
    assert all(name in said.out for name in recipe_names())
    assert "next: " in said.out


def test_recipe_is_written_to_be_changed(command: Command, model: Path, tmp_path: Path) -> None:
    said = command("recipes", "tiny/shapes", "train.steps=7")
    assert (said.status, said.err) == (0, "")
    mine = tmp_path / "mine.yaml"
    mine.write_text(said.out)
    assert load_config(str(mine)) == load_config("tiny/shapes", ["train.steps=7"])
    mine.write_text(command("recipes", model, "test.show_threshold=0.2").out)
    expected = override_config(load_card(model).config, ["test.show_threshold=0.2"])
    assert load_config(str(mine)) == expected


def test_recipe_that_chooses_from_the_data_is_not_written(command: Command) -> None:
    said = command("recipes", "auto")
    assert said.status == 2
    assert "mask2former recipes RUN" in said.err


def test_models_are_listed(command: Command, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mask2former.zoo.bundled_models", lambda: {"tiny": model})
    said = command("models")
    assert said.status == 0
    assert "tiny" in said.out
    assert "instance" in said.out


def test_models_are_chosen_by_words_and_fit_a_terminal(command: Command) -> None:
    said = command("models", "swin", "panoptic", "--task", "panoptic")
    rows = [line for line in said.out.splitlines() if "/panoptic/swin_" in line]
    assert len(rows) == 11
    assert " ".join(rows[0].split()).endswith("swin_t panoptic 47 M PQ 53.2 AP 43.3 mIoU 63.2")
    assert max(map(len, rows)) <= 80
    assert "licence of 11 models: CC BY-NC 4.0" in said.out
    assert said.out.splitlines()[-1].startswith("next: ")


def test_models_are_listed_for_programs(command: Command) -> None:
    listed = json.loads(command("models", "cityscapes", "r50", "--json").out)
    assert [model["task"] for model in listed] == ["panoptic", "instance", "semantic"]
    assert all(model["url"].endswith(".pkl") and model["parameters"] for model in listed)


@pytest.fixture(scope="module")
def panoptic_model(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of four classes with random weights."""
    config = load_config(str(recipe), ["test.task=panoptic", "test.short_edge=32"])
    categories = Shapes(1, task="panoptic").categories
    folder = tmp_path_factory.mktemp("panoptic")
    save_model(folder, build_model(config.model, len(categories)), ModelCard(config, categories))
    return folder


def test_official_protocol_measures_what_was_published(
    command: Command, panoptic_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = load_config("coco/panoptic/r50", ["test.short_edge=64", "test.max_size=64"]).test
    row = find_published("coco/panoptic/r50")
    assert row is not None
    known = Protocol(row, test, (row,))
    monkeypatch.setattr("mask2former.published.protocol.official_protocol", lambda *_: known)
    asked = []
    look = Predictor.look
    monkeypatch.setattr(
        Predictor,
        "look",
        lambda self, image, size, *turn: asked.append(size) or look(self, image, size, *turn),
    )
    path = tmp_path / "figures.json"
    said = command("evaluate", panoptic_model, "--protocol", "official", "--output", path)
    assert said.status == 0
    assert "the official test settings of coco/panoptic/r50" in said.out
    assert set(asked) == {(64, 64)}  # and not the model's own 32
    figures = json.loads(path.read_text())
    assert [figures["task"], *(also["task"] for also in figures["also"])] == [
        "panoptic",
        "instance",
        "semantic",
    ]
    assert "published: PQ 51.9 percent\n" in said.out
    assert "published: AP 41.7 percent\n" in said.out
    assert "published: mIoU 61.7 percent\n" in said.out
    assert "model licence: not stated" in said.out


def test_tta_asks_for_every_view(
    command: Command, panoptic_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    look = Predictor.look
    monkeypatch.setattr(
        Predictor,
        "look",
        lambda self, image, size, *turn: asked.append(size) or look(self, image, size, *turn),
    )
    words = (
        "--task",
        "semantic",
        "--tta",
        "data.first=1",
        "test.short_edge=128",
        "test.max_size=128",
    )
    assert command("evaluate", panoptic_model, *words).status == 0
    assert [height for height, _ in asked] == [
        s for s in (64, 96, 128, 160, 192, 224) for _ in "ab"
    ]


def test_published_figure_of_other_annotations_is_told(
    panoptic_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = find_published("coco/panoptic/r50")
    assert row is not None
    predictor = load(str(panoptic_model), "cpu")
    config = override_config(
        predictor.card.config, ["data.format=coco_panoptic", "test.short_edge=64"]
    )
    predictor.card = replace(predictor.card, config=config)
    monkeypatch.setattr("mask2former.build.build_split", lambda *_: Shapes(1))
    protocol = Protocol(row, config.test, (row,))
    measure_tasks(predictor, ["instance"], "val", protocol, None, "r50")
    said = capsys.readouterr().out
    assert "published: AP 41.7 percent (against the instance annotations, not these)" in said


@pytest.mark.parametrize("name", ["2017", "on", "~", "a=b", "null: [", "caf\u00e9 \U0001f600"])
def test_data_folder_may_have_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    settings = as_settings([name, "data.first=3"])
    data = override_config(load_config("nuclei"), settings).data
    assert (data.root, data.first) == (Path(name), 3)


def test_setting_may_be_longer_than_the_name_of_a_file() -> None:
    setting = f"data.classes={'a' * 5000}"
    assert as_settings([setting]) == [setting]
