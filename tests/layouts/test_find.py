"""Every layout is recognised, and the same pictures teach the same in each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL.ImageFilter import GaussianBlur

sys.path.insert(0, str(Path(__file__).parent))
import make
from make import as_colors, as_palette

from mask2former import rle
from mask2former.build import build_split, build_splits
from mask2former.categories import Categories, Category
from mask2former.config import Data, Task, load_config
from mask2former.config.recipes import read_overrides
from mask2former.data import Dataset
from mask2former.layouts import find_layout, settle_evaluation
from mask2former.report.check import check_data
from mask2former.structures import IGNORE

SPLITS = {"train": make.shapes(6), "val": make.shapes(3, seed=1)}


def targets(dataset: Dataset, index: int) -> set[tuple[str, bytes]]:
    """The targets of a picture: the name of the class, and the mask."""
    sample = dataset.sample(index)
    names = dataset.categories.names
    return {
        (names[label], (sample["ids"] == place).any(0).numpy().tobytes())
        for place, label in enumerate(sample["labels"].tolist(), start=1)
    }


def wanted(scene: make.Scene, task: Task) -> set[tuple[str, bytes]]:
    """What a scene should teach."""
    if task == "semantic":
        names = ("background", *make.NAMES)
        shown = np.unique(scene.classes).tolist()
        return {(names[k], (scene.classes == k)[None].tobytes()) for k in shown}
    found = {(make.NAMES[k - 1], mask[None].tobytes()) for k, mask in scene.objects}
    if task == "panoptic":
        found.add(("background", (scene.places == 0)[None].tobytes()))
    return found


def grey(root: Path) -> None:
    make.label_maps(root, SPLITS)
    (root / "classes.txt").write_text("\n".join(["background", *make.NAMES]))


def palette(root: Path) -> None:
    make.label_maps(root, SPLITS, paint=as_palette, labels="masks/{}")
    make.class_table(root)


def colors(root: Path) -> None:
    make.label_maps(root, SPLITS, paint=as_colors, images="{}", labels="{}_labels", ending="_L")
    make.class_table(root)


def side_by_side(root: Path) -> None:
    make.label_maps(root, SPLITS, images="{}", labels="{}", ending="_mask")
    (root / "classes.txt").write_text("\n".join(["background", *make.NAMES]))


LOSSLESS: dict[str, tuple[Callable[[Path], None], str, tuple[Task, ...]]] = {
    "COCO": (lambda root: make.coco(root, SPLITS), "coco", ("instance",)),
    "Roboflow": (lambda root: make.roboflow(root, SPLITS), "coco", ("instance",)),
    "panoptic": (lambda root: make.panoptic(root, SPLITS), "coco_panoptic", ("panoptic",)),
    "VOC": (lambda root: make.voc(root, SPLITS), "voc", ("semantic", "instance", "panoptic")),
    "VOC in colours": (
        lambda root: make.voc(root, SPLITS, paint=as_colors),
        "voc",
        ("semantic", "instance", "panoptic"),
    ),
    "grey maps": (grey, "label_maps", ("semantic",)),
    "palette maps": (palette, "label_maps", ("semantic",)),
    "maps in colours": (colors, "label_maps", ("semantic",)),
    "maps beside pictures": (side_by_side, "label_maps", ("semantic",)),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_layout_is_found_and_teaches_what_was_written(name: str, tmp_path: Path) -> None:
    write, kind, tasks = LOSSLESS[name]
    write(tmp_path)
    for task in tasks:
        found = find_layout(tmp_path, task)
        assert found.data.format == kind
        assert found.task == task
        assert len(found.says) >= 2
        train, val = build_splits(found.data, task)
        assert (len(train), len(val)) == (6, 3)
        for dataset, scenes in ((train, SPLITS["train"]), (val, SPLITS["val"])):
            of_name = {scene.name: scene for scene in scenes}
            for index in range(len(dataset)):
                scene = of_name[Path(str(dataset.file(index))).stem]
                assert targets(dataset, index) == wanted(scene, task)
                truth = dataset.truth(index)
                if task == "semantic":
                    assert truth.semantic is not None
                    names = np.array([*train.categories.names, "nobody"])
                    assert (
                        names[truth.semantic]
                        == np.array(["background", *make.NAMES])[scene.classes]
                    ).all()
                else:
                    assert len(truth.instances or ()) == len(scene.objects)


def iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_yolo_polygons_cover_the_objects(tmp_path: Path) -> None:
    make.yolo(tmp_path, SPLITS)
    found = find_layout(tmp_path)
    assert found.data.format == "yolo"
    train, val = build_splits(found.data, "instance")
    assert (len(train), len(val)) == (6, 3)
    assert train.categories.names == list(make.NAMES)
    for index, scene in enumerate(sorted(SPLITS["train"], key=lambda scene: scene.name)):
        sample = train.sample(index)
        assert sorted(sample["labels"].tolist()) == sorted(k - 1 for k, _ in scene.objects)
        for place, label in enumerate(sample["labels"].tolist(), start=1):
            mask = (sample["ids"] == place).any(0)[0]
            best = max(iou(mask, torch.from_numpy(m)) for k, m in scene.objects if k - 1 == label)
            assert best > 0.97


def test_cityscapes_is_found_for_every_task(tmp_path: Path) -> None:
    make.cityscapes(tmp_path, SPLITS)
    tasks: tuple[Task, ...] = ("semantic", "instance", "panoptic")
    for task in tasks:
        data = find_layout(tmp_path, task).data
        assert data.format == "cityscapes"
        train, val = build_splits(data, task)
        assert (len(train), len(val)) == (6, 3)
        truth, scene = train.truth(0), SPLITS["train"][0]
        if task == "semantic":
            assert truth.instances is None
            assert len(train.labels(0)) == len({number for number, _ in scene.objects}) + 1
        else:
            assert len(truth.instances or ()) == len(scene.objects)


@pytest.mark.parametrize("write", ["coco", "roboflow", "yolo", "labelme"])
@pytest.mark.parametrize("background", ["none", "class", "void"])
def test_objects_teach_the_class_of_every_pixel(
    write: str, background: str, tmp_path: Path
) -> None:
    splits = {"train": make.shapes(3), "valid": make.shapes(2, seed=1)}
    getattr(make, write)(tmp_path, splits)
    found = find_layout(tmp_path, "semantic", explicit={"background": background})
    train, val = build_splits(found.data, "semantic")
    model = train.categories
    assert model.names == [*([] if background == "void" else ["background"]), *make.NAMES]
    again = build_split(found.data, "val", "semantic", model)
    for dataset, scenes in ((train, splits["train"]), (val, splits["valid"]), (again, None)):
        for index, scene in enumerate(scenes or splits["valid"]):
            truth = dataset.truth(index).semantic
            expected = scene.classes.astype(int) - (background == "void")
            assert truth is not None
            assert (truth == expected).mean() > 0.99  # but for YOLO's rounded corners
            sample = dataset.sample(index)
            assert sorted(sample["labels"].tolist()) == dataset.labels(index)
    rest = {"void": "counts for nobody"}.get(background, "is the class background")
    said = f"classes are painted from objects, smaller ones on top; what is no object {rest}"
    assert any(sentence.startswith(said) for sentence in found.says)
    assert find_layout(tmp_path).task == "instance", "which they teach better"


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("{}", "{}"),
        ("images/{}", "labels/{}"),
        ("{}/images", "{}/json"),
        ("data/{}", "data/{}"),
    ],
)
def test_labelme_is_found_in_folders_of_splits(images: str, labels: str, tmp_path: Path) -> None:
    make.labelme(tmp_path, SPLITS, images, labels)
    found = find_layout(tmp_path)
    assert found.data.format == "labelme"
    assert found.task == "instance"
    assert any("the labels that occur are the classes (circle, sq" in s for s in found.says)
    train, val = build_splits(found.data, "instance")
    assert (len(train), len(val)) == (6, 3)
    assert train.categories.names == list(make.NAMES)
    assert train.notes == []
    scenes = sorted(SPLITS["train"], key=lambda scene: scene.name)
    for index, scene in enumerate(scenes):
        assert train.labels(index) == [number - 1 for number, _ in scene.objects]
        for truth, (_, mask) in zip(train.truth(index).instances or (), scene.objects, strict=True):
            drawn = torch.from_numpy(rle.decode(truth.rle))
            assert iou(drawn, torch.from_numpy(mask)) > 0.97


def test_labelme_in_one_folder_is_folded(tmp_path: Path) -> None:
    make.labelme(tmp_path, {"": SPLITS["train"]})
    found = find_layout(tmp_path)
    assert found.data.fold == (0, 5)
    assert [len(part) for part in build_splits(found.data, "instance")] == [4, 2]
    (tmp_path / "classes.txt").write_text("triangle\ncircle\nsquare\nstar\n")
    listed = find_layout(tmp_path)
    assert listed.has_names
    train, _ = build_splits(listed.data, "instance")
    assert train.categories.names == ["triangle", "circle", "square", "star"]
    make.labelme(tmp_path, {"val": SPLITS["val"]})
    with pytest.raises(ValueError, match=r"lie in val and in \., which names no split; move"):
        find_layout(tmp_path)


def test_labelme_ignores_what_is_called_so(tmp_path: Path) -> None:
    make.labelme(tmp_path, SPLITS, names=("circle", "__ignore__", "triangle"))
    found = find_layout(tmp_path)
    assert found.data.ignore_classes == ("__ignore__",)
    train, _ = build_splits(found.data, "instance")
    assert train.categories.names == ["circle", "triangle"]


def test_labelme_is_measured_with_the_models_classes(tmp_path: Path) -> None:
    make.labelme(tmp_path, SPLITS)
    words = [f"data.root={tmp_path}"]
    config = load_config("nuclei", words)
    names = ("star", "triangle", "circle", "square")  # one does not occur in the folder
    model = Categories(Category(k, name, (0, 0, 0)) for k, name in enumerate(names))
    found, _ = settle_evaluation(config, read_overrides(words), "val", wanted="instance")
    assert build_split(found.data, "val", "instance", model).categories.names == list(names)
    found, _ = settle_evaluation(config, read_overrides(words), "val", wanted="semantic")
    dataset = build_split(found.data, "val", "semantic", model)
    assert dataset.categories.names == list(names)
    assert (dataset.truth(0).semantic == IGNORE).any()


def test_videos_are_found(tmp_path: Path) -> None:
    make.youtube_vis(tmp_path, SPLITS)
    found = find_layout(tmp_path)
    assert found.data.format == "youtube_vis"
    train, val = build_splits(found.data, "instance")
    assert (len(train), len(val)) == (6, 3)
    assert len(train.truth(0).instances or ()) == len(SPLITS["train"][0].objects)


def test_ade20k_counts_from_one(tmp_path: Path) -> None:
    splits = {"training": SPLITS["train"], "validation": SPLITS["val"]}
    make.label_maps(tmp_path, splits, labels="annotations/{}")
    (tmp_path / "objectInfo150.txt").write_text("...")
    found = find_layout(tmp_path)
    assert found.layout == "ADE20K as downloaded"
    train, val = build_splits(found.data, "semantic")
    assert (len(train), len(val)) == (6, 3)
    semantic = train.truth(0).semantic
    scene = SPLITS["train"][0]
    assert semantic is not None
    assert (semantic == np.where(scene.classes == 0, IGNORE, scene.classes.astype(int) - 1)).all()


FOLDERS = {
    "the word first": ("images/{}", "masks/{}"),
    "the split first": ("{}/images", "{}/masks"),
    "capitals": ("{}/Images", "{}/Labels"),
    "mmseg": ("img_dir/{}", "ann_dir/{}"),
    "CamVid": ("{}", "{}annot"),
    "underscores": ("{}_images", "{}_labels"),
    "plain": ("{}", "{}_masks"),
}


@pytest.mark.parametrize("folders", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("val", ["val", "valid", "validation", "dev"])
def test_folders_of_maps_have_many_names(
    folders: tuple[str, str], val: str, tmp_path: Path
) -> None:
    splits = {"train": SPLITS["train"][:3], val: SPLITS["val"][:2], "test": SPLITS["val"][2:]}
    make.label_maps(tmp_path, splits, images=folders[0], labels=folders[1])
    found = find_layout(tmp_path)
    train, validation = build_splits(found.data, "semantic")
    assert (len(train), len(validation)) == (3, 2)
    assert any("left alone" in sentence for sentence in found.says)


@pytest.mark.parametrize("ending", ["_mask", "_label", "_gt", "_L", ".label"])
def test_endings_of_maps_are_found(ending: str, tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS, ending=ending)
    found = find_layout(tmp_path)
    assert found.data.endings == ("", ending)
    assert any(ending in sentence for sentence in found.says)
    assert len(build_splits(found.data, "semantic")[0]) == 6


def test_upper_case_types_are_pictures(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    for file in sorted((tmp_path / "images").rglob("*.png")):
        file.rename(file.with_suffix(".PNG"))
    assert len(build_splits(find_layout(tmp_path).data, "semantic")[0]) == 6


def test_a_fold_stands_in_for_a_missing_validation_set(tmp_path: Path) -> None:
    make.coco(tmp_path, {"train": SPLITS["train"]})
    found = find_layout(tmp_path)
    assert found.data.fold == (0, 5)
    assert any("no split" in sentence for sentence in found.says)
    train, val = build_splits(found.data, "instance")
    assert (len(train), len(val)) == (4, 2)


def test_unpacked_folder_in_a_folder_is_entered(tmp_path: Path) -> None:
    make.yolo(tmp_path / "download" / "cells-3", SPLITS)
    found = find_layout(tmp_path)
    assert found.data.root == tmp_path / "download" / "cells-3"


def test_bare_maps_are_named_by_their_values(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    found = find_layout(tmp_path)
    assert not found.has_names
    assert any("data.classes" in sentence for sentence in found.says)
    assert build_splits(found.data, "semantic")[0].categories.names == [
        f"class_{value}" for value in range(4)
    ]


def test_masks_of_black_and_white_are_one_class(tmp_path: Path) -> None:
    for name, paint in (
        ("grey", lambda values: make.Image.fromarray((values > 0).astype(np.uint8) * 255)),
        (
            "rgb",
            lambda values: as_colors((values > 0) * np.uint8(255)).point(lambda v: 255 * (v > 0)),
        ),
        ("bits", lambda values: make.Image.fromarray(values > 0)),
    ):
        make.label_maps(tmp_path / name, SPLITS, paint=paint)
        found = find_layout(tmp_path / name)
        train, _ = build_splits(found.data, "semantic")
        assert len(train.categories) == 2
        semantic = train.truth(0).semantic
        assert semantic is not None
        assert (semantic == (SPLITS["train"][0].classes > 0)).all(), name
    data = found.data.model_copy(update={"background": "void"})
    train, _ = build_splits(data, "semantic")
    assert len(train.categories) == 1
    assert (train.truth(0).semantic == np.where(SPLITS["train"][0].classes > 0, 0, IGNORE)).all()


def test_masks_of_black_and_white_have_the_two_classes_of_a_list(tmp_path: Path) -> None:
    make.label_maps(
        tmp_path, SPLITS, paint=lambda v: make.Image.fromarray((v > 0).astype(np.uint8) * 255)
    )
    (tmp_path / "classes.txt").write_text("background\ncell\n")
    found = find_layout(tmp_path)
    assert "the maps hold 0 and 255 alone, so 0 is background and 255 is cell" in found.says
    train, _ = build_splits(found.data, "semantic")
    assert train.categories.names == ["background", "cell"]
    semantic = train.truth(0).semantic
    assert semantic is not None
    assert (semantic == (SPLITS["train"][0].classes > 0)).all()


def test_mask_of_one_listed_class_has_the_class_at_255(tmp_path: Path) -> None:
    """One name is written for one class; 255 is it, and not what nobody counts."""
    make.label_maps(
        tmp_path, SPLITS, paint=lambda v: make.Image.fromarray((v > 0).astype(np.uint8) * 255)
    )
    (tmp_path / "classes.txt").write_text("road\n")
    found = find_layout(tmp_path)
    assert "the maps hold 0 and 255 alone, so 0 is background and 255 is road" in found.says
    train, _ = build_splits(found.data, "semantic")
    assert train.categories.names == ["background", "road"]
    semantic = train.truth(0).semantic
    assert semantic is not None
    assert (semantic == (SPLITS["train"][0].classes > 0)).all()


def test_softened_mask_is_refused(tmp_path: Path) -> None:
    """A mask that was resized smoothly would have hundreds of classes."""

    def soften(values: np.ndarray) -> make.Image.Image:
        mask = make.Image.fromarray((values > 0).astype(np.uint8) * 255)
        return mask.resize((400, 300), make.Image.Resampling.NEAREST).filter(GaussianBlur(2))

    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for index, scene in enumerate(SPLITS["train"][:3]):
        soften(scene.classes).convert("RGB").save(tmp_path / "images" / f"{index}.png")
        soften(scene.classes).save(tmp_path / "masks" / f"{index}.png")
    with pytest.raises(ValueError, match=r"values between them, as of softened borders"):
        find_layout(tmp_path)


def test_missing_picture_is_told_by_the_reader_and_hides_no_data_set(tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    missing = tmp_path / "train2017" / f"{SPLITS['train'][0].name}.png"
    missing.unlink()
    found = find_layout(tmp_path)
    with pytest.raises(ValueError, match=missing.name):
        build_splits(found.data, "instance")


def test_paths_of_another_machine_are_names(tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    for split, way in (("train", "C:\\\\Users\\\\anna\\\\"), ("val", "../../data/upload/1/")):
        path = tmp_path / "annotations" / f"instances_{split}2017.json"
        name = SPLITS[split][0].name
        path.write_text(path.read_text().replace(f'"{name}.png"', f'"{way}{name}.png"'))
    train, val = build_splits(find_layout(tmp_path).data, "instance")
    assert Path(train.file(0)).is_file()
    assert Path(val.file(0)).is_file()


def test_a_255_beside_other_values_is_nobody(tmp_path: Path) -> None:
    border = [0, 1, 255, 255]
    make.label_maps(
        tmp_path, SPLITS, paint=lambda v: make.Image.fromarray(np.uint8(border)[v.clip(max=3)])
    )
    (tmp_path / "classes.txt").write_text("background\ncell\n")
    train, _ = build_splits(find_layout(tmp_path).data, "semantic")
    semantic = np.concatenate([train.truth(i).semantic.ravel() for i in range(6)])
    assert set(np.unique(semantic).tolist()) == {IGNORE, 0, 1}


def test_separated_regions_of_a_found_folder_teach_objects(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    (tmp_path / "classes.txt").write_text("\n".join(["background", *make.NAMES]))
    explicit = {"separate": ["circle", "square"]}
    for task in ("panoptic", "instance", "semantic", None):
        found = find_layout(tmp_path, task, explicit=explicit)
        assert found.task == (task or "panoptic")
        train, _ = build_splits(found.data, found.task)
        assert found.data.separate == ("circle", "square")
    assert [c.name for c in train.categories if c.is_thing] == ["circle", "square"]
    with pytest.raises(ValueError, match="semantic segmentation and not instance"):
        find_layout(tmp_path, "instance")


def numbered(root: Path, count: int, *, depth: type = np.uint16) -> None:
    """Pictures of 5 to 5 + count squares, numbered from 1 on, with a gap as an editor leaves it."""
    for split, pictures in (("train", 4), ("val", 2)):
        for picture in range(pictures):
            ids = np.zeros((60, 80), depth)
            for number in range(1, 6 + count * picture // 4):
                row, column = divmod(number - 1, 10)
                ids[8 * row : 8 * row + 6, 8 * column : 8 * column + 6] = number
            ids[ids == 2] = 0
            make.write_picture(root / "images" / split, f"{picture}.png", np.uint8([ids] * 3).T)
            (root / "masks" / split).mkdir(parents=True, exist_ok=True)
            make.Image.fromarray(ids.T).save(root / "masks" / split / f"{picture}.png")


def test_maps_of_numbered_objects_are_told_from_classes(tmp_path: Path) -> None:
    numbered(tmp_path, 60)
    found = find_layout(tmp_path)
    assert found.data.format == "object_maps"
    assert found.task == "instance"
    assert "the values of the maps number objects, 0 is nobody" in found.says
    train, val = build_splits(found.data, "instance")
    assert train.categories.names == ["object"]
    assert (len(train), len(val)) == (4, 2)
    truth = train.truth(3)
    assert [o.area for o in truth.instances] == [36] * 49  # of 50 numbers one is not used
    named = find_layout(tmp_path, explicit={"classes": ["nucleus"]})
    assert build_splits(named.data, "instance")[0].categories.names == ["nucleus"]
    assert not any("name it by" in sentence for sentence in named.says)
    model = Categories([Category(7, "nucleus", (0, 0, 0))])
    unnamed = found.data.model_copy(update={"classes": None})
    assert build_split(unnamed, "val", "instance", model).categories is model
    semantic = find_layout(tmp_path, "semantic")  # who wants classes gets them
    assert semantic.data.format == "label_maps"
    assert find_layout(tmp_path, explicit={"separate": ["class_1"]}).data.format == "label_maps"
    painted = find_layout(tmp_path, "semantic", explicit={"format": "object_maps"}).data
    train, _ = build_splits(painted, "semantic")
    assert train.categories.names == ["background", "object"]
    assert train.labels(3) == [0, 1]
    (tmp_path / "classes.txt").write_text("cell\n")
    assert build_splits(find_layout(tmp_path).data, "instance")[1].categories.names == ["cell"]
    (tmp_path / "classes.txt").write_text("\n".join(f"c{i}" for i in range(60)))
    assert find_layout(tmp_path).data.format == "label_maps"


def test_few_numbers_are_classes_unless_a_person_says_objects(tmp_path: Path) -> None:
    numbered(tmp_path, 8)
    assert find_layout(tmp_path).data.format == "label_maps"
    found = find_layout(tmp_path, explicit={"format": "object_maps"})
    train, _ = build_splits(found.data, "instance")
    assert len(train.truth(0).instances) == 4
    (tmp_path / "classes.txt").write_text("cell\n")  # a list of one class
    found = find_layout(tmp_path)
    assert (found.data.format, found.has_names) == ("object_maps", True)


def test_a_damaged_map_is_named(tmp_path: Path) -> None:
    numbered(tmp_path, 60)
    torn = tmp_path / "masks" / "train" / "0.png"
    torn.write_bytes(torn.read_bytes()[:60])
    for wanted in (None, "instance", "semantic"):
        with pytest.raises(ValueError, match=r"masks/train/0\.png: "):
            find_layout(tmp_path, wanted)


def test_named_paths_with_separated_classes_teach_all_tasks(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    named = {
        "format": "label_maps",
        "classes": ["background", *make.NAMES],
        "separate": ["circle"],
        "train": {"images": "images/train", "annotations": "labels/train"},
        "val": {"images": "images/val", "annotations": "labels/val"},
    }
    assert find_layout(tmp_path, explicit=named).task == "panoptic"
    assert find_layout(tmp_path, explicit={**named, "separate": []}).task == "semantic"


def test_a_list_that_lacks_a_class_is_told_also_where_classes_are_separated(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    (tmp_path / "classes.txt").write_text("background\ncircle\n")
    with pytest.raises(ValueError, match="names no class for 2"):
        find_layout(tmp_path, "instance", explicit={"separate": ["circle"]})


def test_maps_of_many_scattered_classes_are_classes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for picture in range(3):
            values = np.kron(draw.integers(0, 40, (12, 16)), np.ones((5, 5), int)).astype(np.uint8)
            make.write_picture(
                tmp_path / "images" / split, f"{picture}.png", np.uint8([values] * 3).T
            )
            make.write_picture(tmp_path / "masks" / split, f"{picture}.png", values.T.copy())
    assert find_layout(tmp_path).data.format == "label_maps"


def test_ignored_class_of_a_list_is_said(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS, paint=as_colors)
    make.class_table(tmp_path, ("Void", "square", "triangle"))
    found = find_layout(tmp_path)
    assert found.data.ignore_classes == ("Void",)
    assert any("Void counts for nobody" in sentence for sentence in found.says)
    train, _ = build_splits(found.data, "semantic")
    assert train.categories.names == ["background", "square", "triangle"]


def test_settings_of_the_folder_win_over_what_is_found(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    (tmp_path / "data.yaml").write_text(
        "classes: [ground, disc, box, tent]\nmerge: {round: [disc, box]}\nfold: [1, 3]\n"
    )
    found = find_layout(tmp_path)
    train, val = build_splits(found.data, "semantic")
    assert train.categories.names == ["ground", "round", "tent"]
    assert (len(train), len(val)) == (4, 2)


def test_settings_of_a_person_win_over_those_of_the_folder(tmp_path: Path) -> None:
    make.label_maps(tmp_path, SPLITS)
    (tmp_path / "data.yaml").write_text("classes: [ground, disc, box, tent]\nignore: [254]\n")
    found = find_layout(tmp_path, explicit={"ignore": [3]})
    assert found.data.ignore == (3,)
    assert isinstance(found.data, Data)
    assert len(found.data.classes or ()) == 4


def test_settings_that_name_everything_need_no_layout(tmp_path: Path) -> None:
    make.coco(tmp_path / "odd", SPLITS)
    (tmp_path / "data.yaml").write_text(
        "format: coco\nroot: odd\n"
        "train: {images: train2017, annotations: annotations/instances_train2017.json}\n"
        "val: {images: val2017, annotations: annotations/instances_val2017.json}\n"
    )
    train, val = build_splits(find_layout(tmp_path).data, "instance")
    assert (len(train), len(val)) == (6, 3)


def hide(root: Path) -> None:
    """What a Mac and a file manager leave beside every file of a folder."""
    for file in [file for file in root.rglob("*") if file.is_file()]:
        (file.parent / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07 half of a file")
        (file.parent / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    previews = root / ".thumbnails"
    previews.mkdir()
    (previews / "a.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    "write", ["coco", "roboflow", "panoptic", "yolo", "labelme", "label_maps", "voc"]
)
def test_hidden_files_are_no_data(write: str, tmp_path: Path) -> None:
    splits = {"train": make.shapes(3), "val": make.shapes(2, seed=1)}
    getattr(make, write)(tmp_path, splits)
    plain = find_layout(tmp_path)
    hide(tmp_path)
    found = find_layout(tmp_path)
    assert found == plain
    assert [len(part) for part in build_splits(found.data, found.task)] == [3, 2]
    config = load_config("auto", [f"test.task={found.task}"])
    checkup = check_data(config.model_copy(update={"data": found.data}))
    assert not [f for f in checkup.findings if "._" in f.sentence or "DS_Store" in f.sentence]
    assert checkup.is_sound
