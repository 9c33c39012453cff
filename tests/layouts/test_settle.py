"""The commands: a recipe or a trained model with a folder of another layout."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import make

from mask2former import cli
from mask2former.build import build_model, build_split, build_splits
from mask2former.categories import Categories, Category
from mask2former.checkpoint import ModelCard, save_model
from mask2former.config import Config, ResizeAndCrop, Split, dump_config, load_config, parse_config
from mask2former.config.recipes import read_overrides
from mask2former.layouts import settle, settle_evaluation, with_own_settings

SPLITS = {"train": make.shapes(5), "val": make.shapes(2, seed=1)}
TINY = {
    "model": {
        "dim": 32,
        "backbone": {"name": "test_efficientnet"},
        "pixel_decoder": {"layers": 1, "feedforward": 32},
        "transformer_decoder": {"layers": 1, "heads": 4, "feedforward": 32, "num_queries": 4},
    },
    "test": {"task": "instance", "short_edge": 64, "max_size": 96},
}


def settled(recipe: str, *words: str) -> tuple[Config, list[str]]:
    config = load_config(recipe, words)
    return settle(config, read_overrides(words), wanted=config.test.task)


def test_recipe_takes_a_folder_of_another_layout(tmp_path: Path) -> None:
    make.yolo(tmp_path, SPLITS)
    config, says = settled("nuclei", f"data.root={tmp_path}", "data.workers=0")
    assert config.data.format == "yolo"
    assert config.data.workers == 0
    assert config.data.augmentation == load_config("nuclei").data.augmentation
    assert says[0] == f"{tmp_path}: YOLO segmentation"
    assert [len(part) for part in build_splits(config.data, "instance")] == [5, 2]
    assert parse_config(dump_config(config), "again") == config


def test_recipe_whose_paths_are_there_stays_as_it_is(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    (tmp_path / "classes.json").write_text(json.dumps({"classes": []}))
    config, says = settled("tiny/camvid", f"data.root={tmp_path}")
    assert config == load_config("tiny/camvid", [f"data.root={tmp_path}"])
    assert says == []


def test_recipe_of_another_task_is_refused(tmp_path: Path) -> None:
    make.yolo(tmp_path, SPLITS)
    with pytest.raises(ValueError, match=r"YOLO segm.*, for instance or semantic segmentation and"):
        settled("street", f"data.root={tmp_path}")
    config, says = settled("tiny/camvid", f"data.root={tmp_path}")
    assert config.test.task == "semantic"
    assert any("painted from objects" in sentence for sentence in says)
    config, _ = settled("tiny/camvid", f"data.root={tmp_path}", "test.task=instance")
    assert config.test.task == "instance"


def test_what_a_person_sets_wins(tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    config, says = settled("nuclei", f"data.root={tmp_path}", "data.fold=[1, 3]")
    assert config.data.fold == (1, 3)
    assert any("data.fold" in sentence for sentence in says)
    assert [len(part) for part in build_splits(config.data, "instance")] == [3, 2]


def test_wrong_path_of_a_person_is_told_by_the_reader(tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    words = [f"data.root={tmp_path}", "data.format=coco", "data.train.annotations=typo.json"]
    config, says = settled("nuclei", *words)
    assert says == []
    with pytest.raises(ValueError, match=r"typo\.json: cannot be read"):
        build_splits(config.data, "instance")


def test_validation_alone_trains_nobody(tmp_path: Path) -> None:
    make.coco(tmp_path, {"val": SPLITS["val"]})
    with pytest.raises(ValueError, match="a validation split only"):
        settled("nuclei", f"data.root={tmp_path}")


def test_evaluation_measures_all_of_what_is_not_split(tmp_path: Path) -> None:
    make.coco(tmp_path, {"train": SPLITS["train"]})
    words = [f"data.root={tmp_path}"]
    config = load_config("nuclei", words)
    config, says = settle_evaluation(config, read_overrides(words), "val", wanted="instance")
    known = Categories(Category(k, name, (0, 0, 0)) for k, name in enumerate(make.NAMES))
    assert len(build_split(config.data, "val", "instance", known)) == 5
    assert says[-1] == "there is no validation split, so all pictures are measured"


def test_evaluation_reads_nameless_maps_with_the_models_classes(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS, images="{}/a_images", labels="{}/masks")
    words = [f"data.root={tmp_path}"]
    config = load_config("tiny/camvid", words)
    config, _ = settle_evaluation(config, read_overrides(words), "val", wanted="semantic")
    names = ("ground", "disc", "box", "tent")
    known = Categories(Category(k, name, (0, 0, 0)) for k, name in enumerate(names))
    dataset = build_split(config.data, "val", "semantic", known)
    assert dataset.categories.names == list(names)
    assert (dataset.truth(0).semantic == SPLITS["val"][0].classes).all()


def test_evaluation_finds_the_endings_of_other_data(tmp_path: Path) -> None:
    """The training's maps were called a_mask.png, these are called a.png."""
    make.label_maps(tmp_path, SPLITS)
    model = load_config("tiny/camvid", ["data.endings=['', _mask]", "data.classes=[a, b, c]"])
    typed = {"data": {"root": str(tmp_path)}}
    own = model.data.model_copy(
        update={
            "root": tmp_path,
            "train": Split(images=Path("images/train"), annotations=Path("labels/train")),
            "val": Split(images=Path("images/val"), annotations=Path("labels/val")),
        }
    )
    config = model.model_copy(update={"data": own})
    found, _ = settle_evaluation(config, typed, "val", wanted="semantic")
    assert found.data.endings == ("", "")


def test_evaluation_says_which_data_is_not_here(tmp_path: Path) -> None:
    config = load_config("nuclei", [f"data.root={tmp_path}/gone"])
    with pytest.raises(ValueError, match=r"trained on \(.*gone\) is not here; name a data folder"):
        settle_evaluation(config, {}, "val", wanted="instance")
    typed = {"data": {"root": f"{tmp_path}/gone"}}
    with pytest.raises(ValueError, match=r"gone: there is no such data folder"):
        settle_evaluation(config, typed, "val", wanted="instance")


def test_model_of_separated_regions_is_measured_on_such(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    (tmp_path / "classes.txt").write_text("\n".join(["background", *make.NAMES]))
    separate = ["data.format=label_maps", "data.separate=[circle]", "test.task=panoptic"]
    trained = load_config("tiny/shapes", separate)
    words = {"data": {"root": str(tmp_path)}}
    config = trained.model_copy(update={"data": trained.data.model_copy(update={"root": tmp_path})})
    found, _ = settle_evaluation(config, words, "val", wanted="panoptic")
    assert found.data.separate == ("circle",)
    one, _ = settle(config, words, wanted="panoptic")
    assert one.data.separate == ("circle",)
    make.coco(tmp_path / "coco", SPLITS)
    coco = tmp_path / "coco"
    config = trained.model_copy(update={"data": trained.data.model_copy(update={"root": coco})})
    found, _ = settle_evaluation(config, {"data": {"root": str(coco)}}, "val", wanted="instance")
    assert found.data.format == "coco"
    assert found.data.separate == ()


def test_numbered_objects_are_of_the_models_class(tmp_path: Path) -> None:
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
    ids = np.zeros((50, 50), np.uint16)
    for number in range(20):
        row, column = divmod(number, 5)
        ids[10 * row : 10 * row + 5, 10 * column : 10 * column + 5] = number + 1
    for name in "ab":
        Image.new("RGB", (50, 50)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(ids).save(tmp_path / "masks" / f"{name}.png")
    trained = load_config(
        "nuclei", ["data.format=label_maps", "data.background=void", "data.merge={nucleus: [a, b]}"]
    )
    config = trained.model_copy(update={"data": trained.data.model_copy(update={"root": tmp_path})})
    words = {"data": {"root": str(tmp_path)}}
    found, says = settle_evaluation(config, words, "val", wanted="instance")
    model = Categories([Category(4, "nucleus", (0, 0, 0))])
    dataset = build_split(found.data, "val", "instance", model)
    assert dataset.categories is model
    assert len(dataset.truth(0).instances) == 20
    assert "the values of the maps number objects, 0 is nobody" in says


def test_evaluation_joins_classes_as_training_did(tmp_path: Path) -> None:
    make.yolo(tmp_path, SPLITS)
    words = [f"data.root={tmp_path}"]
    config = load_config("nuclei", ["data.merge={shape: [circle, square, triangle]}", *words])
    config, _ = settle_evaluation(config, read_overrides(words), "val", wanted="instance")
    known = Categories([Category(1, "shape", (0, 0, 0))])
    dataset = build_split(config.data, "val", "instance", known)
    assert set(dataset.labels(0)) == {0}


OWN = {
    "channels": 4,
    "first": 3,
    "paste": 0.5,
    "augmentation": {"kind": "crop", "short_edges": [64], "crop": [32, 48]},
}


@pytest.mark.parametrize("recipe", ["nuclei", "auto"])
def test_all_that_the_folder_names_takes_effect(recipe: str, tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    (tmp_path / "data.yaml").write_text(json.dumps(OWN))
    words = [f"data.root={tmp_path}", "data.first=2", "data.augmentation.flips=both"]
    config, says = settled(recipe, *words, "test.task=instance")
    assert "data.channels" in says[-1]
    assert (config.data.channels, config.data.paste) == (4, 0.5)
    assert config.data.first == 2, "the command line comes last"
    augmentation = config.data.augmentation
    assert isinstance(augmentation, ResizeAndCrop)
    assert (augmentation.crop, augmentation.flips) == ((32, 48), "both")
    evaluated, _ = settle_evaluation(
        load_config("nuclei", words), read_overrides(words), "val", wanted="instance"
    )
    assert evaluated.data.channels == 4


def test_folder_that_a_recipe_fits_may_name_more(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    (tmp_path / "classes.json").write_text(json.dumps({"classes": []}))
    (tmp_path / "data.yaml").write_text("first: 3\n")
    config, says = settled("tiny/camvid", f"data.root={tmp_path}")
    assert config.data == load_config("tiny/camvid", [f"data.root={tmp_path}", "data.first=3"]).data
    assert says == [f"{tmp_path}: as named: data.first"]


def test_plan_keeps_what_the_folder_names(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("first: 3\nrepeat: 0.1\n")
    typed = {"data": {"root": str(tmp_path), "first": 2}, "train": {"steps": 5}}
    assert with_own_settings(typed) == {
        "data": {"root": str(tmp_path), "first": 2, "repeat": 0.1},
        "train": {"steps": 5},
    }


def test_folders_of_equal_names_are_no_proof_of_the_format(tmp_path: Path) -> None:
    for name, write in (("yolo", make.yolo), ("maps", make.label_maps)):
        write(tmp_path / name, SPLITS)
    trained, _ = settled("nuclei", f"data.root={tmp_path / 'yolo'}")
    tree = dump_config(trained)
    tree["data"]["root"] = str(tmp_path / "maps")
    typed = {"data": {"root": tree["data"]["root"]}}
    with pytest.raises(ValueError, match="it holds label maps, for semantic segmentation"):
        settle_evaluation(parse_config(tree, "the test"), typed, "val", wanted="instance")


WITH_TEST = {**SPLITS, "test": make.shapes(3, seed=2)}


@pytest.mark.parametrize("fold", ["", "data.fold=[0, 5]"])
@pytest.mark.parametrize(
    "write",
    ["coco", "roboflow", "yolo", "labelme", "panoptic", "voc", "cityscapes", "youtube_vis"],
)
def test_test_split_is_measured_where_there_is_one(write: str, fold: str, tmp_path: Path) -> None:
    getattr(make, write)(tmp_path, WITH_TEST)
    words = [f"data.root={tmp_path}", *([fold] if fold else [])]
    config, typed = load_config("nuclei", words), read_overrides(words)
    found, says = settle_evaluation(config, typed, "test", wanted="instance")
    known = build_splits(found.data, "instance")[0].categories
    dataset = build_split(found.data, "test", "instance", known)
    assert len(dataset) == 3
    assert any(s.startswith("left alone, but for `evaluate --split test`") for s in says)
    trained, _ = settle(config, typed, wanted="instance")
    parts = [len(part) for part in build_splits(trained.data, "instance")]
    assert parts == ([4, 1] if fold else [5, 2])
    kept = load_config("nuclei", words).model_copy(update={"data": trained.data})
    assert len(build_split(kept.data, "test", "instance", known)) == 3


@pytest.mark.parametrize("folders", [("images/{}", "labels/{}"), ("{}/images", "{}/masks")])
def test_test_split_of_maps_is_measured(folders: tuple[str, str], tmp_path: Path) -> None:
    make.label_maps(tmp_path, WITH_TEST, images=folders[0], labels=folders[1])
    words = [f"data.root={tmp_path}"]
    config = load_config("auto", words)
    found, _ = settle_evaluation(config, read_overrides(words), "test", wanted="semantic")
    known = Categories(Category(k, f"class_{k}", (0, 0, 0)) for k in range(4))
    assert len(build_split(found.data, "test", "semantic", known)) == 3


def test_test_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    words = [f"data.root={tmp_path}"]
    config, typed = load_config("nuclei", words), read_overrides(words)
    with pytest.raises(ValueError, match="COCO instance JSON without a test split; choose --split"):
        settle_evaluation(config, typed, "test", wanted="instance")
    trained, _ = settle(config, typed, wanted="instance")
    known = Categories(Category(k, name, (0, 0, 0)) for k, name in enumerate(make.NAMES))
    with pytest.raises(ValueError, match=r"there is no test split; data\.test\.images"):
        build_split(trained.data, "test", "instance", known)
    named = ["data.test.images=val2017", "data.test.annotations=annotations/instances_val2017.json"]
    config, typed = load_config("nuclei", words + named), read_overrides(words + named)
    found, _ = settle_evaluation(config, typed, "test", wanted="instance")
    assert len(build_split(found.data, "test", "instance", known)) == 2


def test_commands_take_objects_for_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make.yolo(tmp_path / "data", SPLITS)
    config = parse_config({**TINY, "test": {**TINY["test"], "task": "semantic"}}, "the tests")
    for names, note in ((("background", *make.NAMES), 0), (make.NAMES, 1)):
        categories = Categories(Category(k, name, (0, 0, 0)) for k, name in enumerate(names))
        card = ModelCard(config, categories)
        save_model(tmp_path / "model", build_model(config.model, len(names)), card)
        words = ["mask2former", "evaluate", tmp_path / "model", tmp_path / "data"]
        monkeypatch.setattr(sys, "argv", [*map(str, words), "--task", "semantic"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert end.value.code == 0, said.err
        assert "mIoU" in said.out
        assert said.out.count("note: the model has no class background") == note
    words = ["mask2former", "check-data", tmp_path / "data", "--task", "semantic"]
    monkeypatch.setattr(sys, "argv", [*map(str, words), "--output", str(tmp_path / "report")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert "data: classes are painted from objects" in said.out


def test_command_evaluates_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make.roboflow(tmp_path / "data", {"train": SPLITS["train"], "valid": SPLITS["val"]})
    config = parse_config(TINY, "the tests")
    order = ("triangle", "circle", "square")  # names decide, whatever the data's own order
    categories = Categories(Category(k, name, (0, 0, 0)) for k, name in enumerate(order))
    model = build_model(config.model, 3)
    save_model(tmp_path / "model", model, ModelCard(config, categories))
    words = ["mask2former", "evaluate", tmp_path / "model", tmp_path / "data", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert "Roboflow's COCO instance JSON" in said.out
    assert "2 pictures" in said.out
