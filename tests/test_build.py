"""Settings become the objects they name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mask2former import config as c
from mask2former.build import (
    build_augmentation,
    build_criterion,
    build_model,
    build_split,
    build_splits,
)
from mask2former.categories import Categories
from mask2former.config import (
    Config,
    Data,
    Loss,
    SplitName,
    load_config,
    override_config,
    parse_config,
)
from mask2former.data import Shapes
from mask2former.loss import mask_loss
from mask2former.loss.sampling import AllPixels, RandomPoints, UncertainPoints
from mask2former.model.fpn import FPNPixelDecoder
from mask2former.model.kernels.hasten import hasten_training
from mask2former.model.swin import Swin
from mask2former.structures import IGNORE, Targets

TINY = {
    "dim": 32,
    "backbone": {"name": "test_efficientnet"},
    "pixel_decoder": {"layers": 1, "feedforward": 32},
    "transformer_decoder": {"layers": 3, "heads": 4, "feedforward": 32, "num_queries": 6},
}


CLASSES = [{"id": 0, "name": "road"}, {"id": 1, "name": "sky"}]


def tiny(*overrides: str) -> Config:
    return override_config(parse_config({"model": TINY}, "a test"), overrides)


VARIANTS = pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.pixel_decoder={kind: fpn}"],
        ["model.pixel_decoder={kind: semantic_fpn}"],
        ["model.pixel_decoder={kind: bifpn}"],
        ["model.pixel_decoder={kind: fapn}"],
        ["model.transformer_decoder.queries=zero"],
        ["model.transformer_decoder.attention=full"],
        ["model.transformer_decoder.attention=smca"],
        ["model.transformer_decoder.attention=mask_pooling"],
        ["model.transformer_decoder.levels=[[32, 16, 8]]"],
        ["model.transformer_decoder.order=[self, cross, ffn]"],
        ["model.transformer_decoder.position=3d"],
        ["model.backbone={kind: swin, embed_dim: 24, depths: [1, 1, 1, 1], heads: [1, 2, 4, 8]}"],
    ],
    ids=lambda overrides: overrides[0].split(".")[-1] if overrides else "plain",
)


@VARIANTS
def test_every_variant_of_the_network_answers(overrides: list[str]) -> None:
    model = build_model(tiny(*overrides).model, num_classes=5).eval()
    with torch.inference_mode():
        predictions = model(torch.rand(1, 3, 64, 64) * 255)
    assert len(predictions) == 4
    assert predictions[-1].class_logits.shape == (1, 6, 6)
    assert predictions[-1].mask_logits().shape == (1, 6, 1, 16, 16)


@VARIANTS
def test_every_variant_of_the_network_learns_a_picture(overrides: list[str]) -> None:
    torch.manual_seed(0)
    sample = Shapes(1, (64, 64)).sample(0)
    images, targets = sample["image"][None].float(), [Targets(sample["ids"], sample["labels"])]
    config = tiny(*overrides)
    network = hasten_training(build_model(config.model, num_classes=5)).train()
    criterion = build_criterion(Loss(num_points=512))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.stack([*criterion(network(images), targets).values()]).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_sampled_queries_follow_the_picture() -> None:
    decoder = "model.transformer_decoder"
    config = tiny(f"{decoder}.queries={{spacing: 16}}", f"{decoder}.num_queries=100")
    model = build_model(config.model, 5).eval()
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 64, 96) * 255)[-1].class_logits.shape == (1, 24, 6)


def test_kinds_become_their_classes() -> None:
    model = build_model(load_config("coco/panoptic/swin_t").model, num_classes=133)
    assert isinstance(model.backbone, Swin)
    light = build_model(tiny("model.pixel_decoder={kind: fpn}").model, num_classes=3)
    assert isinstance(light.pixel_decoder, FPNPixelDecoder)


def test_criterion_takes_the_values_of_the_settings() -> None:
    paper = build_criterion(Loss())
    assert isinstance(paper.sampler, UncertainPoints)
    assert isinstance(paper.matcher.sampler, RandomPoints)
    assert paper.mask_loss is mask_loss.cross_entropy
    dense = build_criterion(
        Loss(match_on="pixels", supervise_on="pixels", mask_loss="focal", mask_weight=20)
    )
    assert isinstance(dense.sampler, AllPixels)
    assert isinstance(dense.matcher.sampler, AllPixels)
    assert dense.mask_loss is dense.matcher.mask_loss is mask_loss.focal
    assert dense.mask_weight == dense.matcher.mask_weight == 20


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "lsj", "size": 64},
        {"kind": "crop", "short_edges": [48, 64], "crop": [64, 64]},
        {"kind": "fit", "size": [64, 64]},
    ],
    ids=lambda settings: settings["kind"],
)
def test_augmentation_gives_the_size_it_names(settings: dict) -> None:
    transform = build_augmentation(Data.model_validate({"augmentation": settings}).augmentation)
    sample = transform(Shapes(1, (50, 70)).sample(0))
    assert sample["image"].shape == (1, 3, 64, 64)
    assert sample["ids"].shape[-2:] == (64, 64)


def test_fold_and_first_divide_the_pictures() -> None:
    train, val = build_splits(Data(format="shapes", fold=(1, 4)), "panoptic")
    files = [{str(split.file(i)) for i in range(len(split))} for split in (train, val)]
    assert not files[0] & files[1]
    assert (len(train), len(val)) == (150, 50)
    train, val = build_splits(Data(format="shapes", fold=(1, 4), first=3), "panoptic")
    assert (len(train), len(val)) == (3, 3)
    assert val.file(0) == "shapes/0/000001.png"


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("fold", [None, (1, 4)])
def test_split_alone_has_the_pictures_of_both(
    tmp_path: Path, fold: tuple[int, int] | None, split: SplitName
) -> None:
    data = load_config("tiny/camvid", [f"data.root={label_map_folder(tmp_path)}"]).data
    data = data.model_copy(update={"fold": fold, "first": 1})
    both = dict(zip(("train", "val"), build_splits(data, "semantic"), strict=True))
    alone = build_split(data, split, "semantic", both["train"].categories)
    assert [alone.file(i) for i in range(len(alone))] == [
        both[split].file(i) for i in range(len(both[split]))
    ]


def test_split_alone_does_not_open_the_other(tmp_path: Path) -> None:
    root = label_map_folder(tmp_path)
    shutil.rmtree(root / "images" / "train")
    data = load_config("tiny/camvid", [f"data.root={root}"]).data
    assert len(build_split(data, "val", "semantic", Categories.from_json(CLASSES))) == 1


def test_label_maps_are_read_with_the_labels_of_a_model(tmp_path: Path) -> None:
    data = load_config("tiny/camvid", [f"data.root={label_map_folder(tmp_path)}"]).data
    turned = Categories.from_json([{"id": 5, "name": "sky"}, {"id": 7, "name": "road"}])
    dataset = build_split(data, "val", "semantic", turned)
    assert dataset.categories.names == ["sky", "road"]
    semantic = dataset.truth(0).semantic
    assert semantic is not None
    assert (semantic == 1).all()  # stored as 0, a road, which is the model's label 1


def test_recipe_of_shapes_validates_on_other_pictures() -> None:
    train, val = build_splits(load_config("tiny/shapes").data, "panoptic")
    seen = {train.file(i) for i in range(len(train))}
    assert len(val) > 0
    assert not any(val.file(i) in seen for i in range(len(val)))


def label_map_folder(folder: Path) -> Path:
    for split in ("train", "val"):
        for kind, shape in (("images", (8, 9, 3)), ("labels", (8, 9))):
            path = folder / kind / split / "a.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    (folder / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    return folder


def test_label_maps_as_downloaded_are_read_through_the_settings(tmp_path: Path) -> None:
    for folder, name, values in [
        ("images", "a.jpg", np.zeros((1, 3, 3), np.uint8)),
        ("annotations", "a_label.png", np.array([[0, 1, 150]], np.uint8)),
    ]:
        for split in ("training", "validation"):
            path = tmp_path / folder / split / name
            path.parent.mkdir(parents=True)
            Image.fromarray(values).save(path)
    overrides = [f"data.root={tmp_path}", "data.endings=['', _label]"]
    train, val = build_splits(load_config("ade20k/semantic/r50", overrides).data, "semantic")
    for split in (train, val):
        semantic = split.truth(0).semantic
        assert semantic is not None
        assert semantic.tolist() == [[IGNORE, 0, 149]]
    assert train.categories[149].name == "flag"


def test_mapillary_counts_its_maps_from_zero(tmp_path: Path) -> None:
    for folder, values in [
        ("images", np.zeros((1, 3, 3), np.uint8)),
        ("labels", np.array([[0, 64, 65]], np.uint8)),
    ]:
        for split in ("training", "validation"):
            path = tmp_path / split / folder / "a.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(values).save(path)
    data = load_config("mapillary/semantic/r50", [f"data.root={tmp_path}"]).data
    train, _ = build_splits(data, "semantic")
    semantic = train.truth(0).semantic
    assert semantic is not None
    assert semantic.tolist() == [[0, 64, IGNORE]]


def test_panoptic_maps_are_found_in_the_folder_that_is_named(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        maps = tmp_path / split / "panoptic"
        maps.mkdir(parents=True)
        (tmp_path / split / "images").mkdir()
        Image.new("RGB", (3, 2), (7, 0, 0)).save(maps / "a.png")
        Image.new("RGB", (3, 2)).save(tmp_path / split / "images" / "a.jpg")
        segment = {"id": 7, "category_id": 1, "area": 6, "iscrowd": 0}
        document = {
            "images": [{"id": "a", "file_name": "a.jpg", "height": 2, "width": 3}],
            "annotations": [{"image_id": "a", "file_name": "a.png", "segments_info": [segment]}],
            "categories": [{"id": 1, "name": "Bird", "isthing": 1}],
        }
        (maps / "panoptic_2018.json").write_text(json.dumps(document))
    data = load_config("mapillary/panoptic/r50", [f"data.root={tmp_path}"]).data
    train, val = build_splits(data, "panoptic")
    assert train.sample(0)["labels"].tolist() == [0]
    assert val.truth(0).segments[0].area == 6


def cityscapes_folder(root: Path) -> Path:
    for split in ("train", "val"):
        for folder, ending, values in [
            ("leftImg8bit", "leftImg8bit", np.zeros((1, 2, 3), np.uint8)),
            ("gtFine", "gtFine_instanceIds", np.array([[7, 26001]], np.uint16)),
        ]:
            path = root / folder / split / "ulm" / f"ulm_0_0_{ending}.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(values).save(path)
    return root


@pytest.mark.parametrize("classes", ["the recipe's", "none"])
@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_cityscapes_are_read_as_downloaded(tmp_path: Path, task: c.Task, classes: str) -> None:
    overrides = ["data.classes=null"] if classes == "none" else []
    root = cityscapes_folder(tmp_path)
    data = load_config(f"cityscapes/{task}/r50", [f"data.root={root}", *overrides]).data
    train, val = build_splits(data, task)
    assert len(train) == len(val) == 1
    found = {train.categories[label].name for label in train.sample(0)["labels"].tolist()}
    assert found == ({"car"} if task == "instance" else {"road", "car"})


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_cityscapes_are_read_by_their_own_ids_whatever_the_model_has(
    tmp_path: Path, task: c.Task
) -> None:
    own = Categories.bundled("cityscapes_panoptic")
    train_ids = Categories(replace(category, id=n) for n, category in enumerate(reversed(own)))
    root = cityscapes_folder(tmp_path)
    data = load_config("cityscapes/panoptic/r50", [f"data.root={root}", "data.classes=null"]).data
    dataset = build_split(data, "val", task, train_ids)
    assert dataset.categories.names == train_ids.names
    semantic = dataset.truth(0).semantic
    assert semantic is not None
    assert [dataset.categories[label].name for label in semantic[0]] == ["road", "car"]


@pytest.mark.parametrize("task", ["panoptic", "semantic"])
def test_model_of_the_things_of_cityscapes_can_be_asked_for_its_classes_in_another_task(
    tmp_path: Path, task: c.Task
) -> None:
    things = Categories.bundled("cityscapes_instance")
    root = cityscapes_folder(tmp_path)
    data = load_config("cityscapes/instance/r50", [f"data.root={root}", "data.classes=null"]).data
    assert build_split(data, "val", task, things).categories == things


def test_label_maps_take_classes_from_the_folder(tmp_path: Path) -> None:
    data = load_config("tiny/camvid", [f"data.root={label_map_folder(tmp_path)}"]).data
    train, val = build_splits(data, "semantic")
    assert train.categories.names == val.categories.names == ["road", "sky"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.format=null"], r"data\.format is not set; it is one of coco, .*, shapes$"),
        (["data.train.images=null"], "data.train.images and data.train.annotations"),
        (["data.classes=null"], "need data.classes"),
        (["data.classes=nowhere"], "no bundled class list 'nowhere'"),
        (["data.classes=bare.json"], 'no list "classes"'),
        (["data.classes=gone.json"], "gone.json"),
        (["data.classes=wrong.json"], r"wrong\.json: class 0 of the list is 'road'"),
    ],
)
def test_incomplete_data_settings_say_what_to_set(
    tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    root = label_map_folder(tmp_path)
    (root / "bare.json").write_text("{}")
    (root / "wrong.json").write_text('{"classes": ["road"]}')
    config = load_config("tiny/camvid", [f"data.root={root}", *overrides])
    with pytest.raises(ValueError, match=sentence):
        build_splits(config.data, "semantic")


def test_class_weights_are_by_name_and_others_weigh_one() -> None:
    categories = Categories.from_json([{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}])
    weights = build_criterion(Loss(class_weights={"dog": 2.5}), categories).object_weights
    assert weights is not None
    assert weights.tolist() == [1.0, 2.5]
    assert build_criterion(Loss(), categories).object_weights is None
    with pytest.raises(ValueError, match=r"class_weights: no class is called 'dgo'; did you mean"):
        build_criterion(Loss(class_weights={"dgo": 2.0}), categories)
