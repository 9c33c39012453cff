"""Connected regions of label maps as objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.build import build_split, build_splits
from mask2former.categories import Categories, Category
from mask2former.config import Data, load_config
from mask2former.data import Separated
from mask2former.data.regions import SPECK
from mask2former.metrics import Inspection
from mask2former.structures import IGNORE, Instances

CLASSES = ["road", "car", "sky", "person"]
ROAD, CAR, SKY, PERSON = range(4)
VOID = 255


def street() -> np.ndarray:
    """Two cars that a pole of sky parts, two that meet at a corner, a speck of one, a person."""
    values = np.full((40, 60), ROAD, np.uint8)
    values[:6] = SKY
    values[10:16, 2:10] = CAR
    values[10:16, 11:20] = CAR
    values[20:26, 2:10] = CAR
    values[26:32, 10:18] = CAR
    values[36, 50:54] = CAR
    values[10:18, 40:44] = PERSON
    values[34:40, 0:9] = VOID
    return values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for name in ("drive1_a", "drive1_b", "drive2_a"):
            Image.fromarray(street()).save(tmp_path / "labels" / split / f"{name}.png")
            picture = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
            picture.save(tmp_path / "images" / split / f"{name}.png")
    return tmp_path


def data_of(folder: Path, **settings: object) -> Data:
    tree = {"format": "label_maps", "root": folder, "classes": CLASSES}
    splits = {
        split: {"images": f"images/{split}", "annotations": f"labels/{split}"}
        for split in ("train", "val")
    }
    return Data.model_validate({**tree, **splits, "separate": ["car", "person"], **settings})


def test_regions_of_things_are_objects_and_stuff_is_one(folder: Path) -> None:
    dataset, _ = build_splits(data_of(folder), "panoptic")
    assert dataset.categories.is_thing == [False, True, False, True]
    truth = dataset.truth(0)
    assert sorted(s.label for s in truth.segments) == [ROAD, CAR, CAR, CAR, SKY, PERSON]
    assert [s.area for s in truth.segments if s.label == CAR] == [48, 54, 96]
    assert truth.semantic is not None
    assert truth.panoptic is not None
    assert truth.void is not None
    for segment in truth.segments:
        assert (truth.panoptic == segment.id).sum() == segment.area
    assert (truth.panoptic[36, 50:54] == 0).all(), "a speck is no object"
    assert (truth.semantic[36, 50:54] == CAR).all(), "but its pixels are of its class"
    assert truth.void.sum() == 4 + 6 * 9
    assert truth.void[truth.semantic == IGNORE].all()


def test_training_targets_are_the_segments(folder: Path) -> None:
    dataset, _ = build_splits(data_of(folder), "panoptic")
    sample, truth = dataset.sample(0), dataset.truth(0)
    assert sample["ids"].shape == (1, 1, 40, 60)
    assert sample["ids"].numpy()[0, 0].tolist() == truth.panoptic.tolist()  # pyrefly: ignore
    assert sample["labels"].tolist() == [s.label for s in truth.segments]


def test_instances_are_the_things_alone(folder: Path) -> None:
    dataset, _ = build_splits(data_of(folder), "instance")
    assert dataset.categories.names == ["car", "person"]
    assert dataset.categories.is_thing == [True, True]
    truth = dataset.truth(0)
    assert truth.instances is not None
    assert [(found.label, found.area) for found in truth.instances] == [
        (0, 48),
        (0, 54),
        (0, 96),
        (1, 32),
    ]
    assert rle.decode(truth.instances[3].rle)[10:18, 40:44].all()
    assert dataset.sample(0)["labels"].tolist() == [0, 0, 0, 1]


def test_detections_on_stuff_are_no_more_forgiven_to_instances(folder: Path) -> None:
    instance, _ = build_splits(data_of(folder), "instance")
    panoptic, _ = build_splits(data_of(folder), "panoptic")
    void, expected = instance.truth(0).void, panoptic.truth(0).void
    assert void is not None
    assert expected is not None
    assert (void == expected).all()
    assert void[36, 50:54].all(), "specks count for nobody"
    assert void[34:40, 0:9].all(), "nor do ignored values"
    assert not void[:6].any(), "but the sky does"


def test_false_positives_on_stuff_are_counted(folder: Path) -> None:
    dataset, _ = build_splits(data_of(folder), "instance")
    truth = dataset.truth(0)
    found = np.zeros((3, 1, 40, 60), bool)
    found[0, 0, 10:16, 2:10] = True  # a car
    found[1, 0, :6, 10:40] = True  # the sky
    found[2, 0, 34:40, 0:9] = True  # what nobody counts
    result = Instances.of_masks(found, np.zeros(3, int), np.array([0.9, 0.8, 0.7], np.float32))
    counts = Inspection(dataset.categories, 0.5)
    counts.update(0, result, truth)
    assert counts.counting().found == 2  # pyrefly: ignore[missing-attribute]


def test_labels_are_in_the_order_of_a_trained_model(folder: Path) -> None:
    data = data_of(folder)
    model = Categories(
        Category(k, name, (0, 0, 0), is_thing=name in ("car", "person"))
        for k, name in enumerate(["person", "sky", "car", "road"])
    )
    labels = build_split(data, "val", "panoptic", model).truth(0)
    assert labels.semantic is not None
    assert labels.semantic[0, 0] == 1
    assert labels.semantic[20, 30] == 3
    assert labels.semantic[39, 0] == IGNORE
    assert sorted(s.label for s in labels.segments) == [0, 1, 2, 2, 2, 3]
    things = Categories(k for k in model if k.is_thing)
    found = build_split(data, "val", "instance", things).truth(0).instances
    assert found is not None
    assert [one.label for one in found] == [1, 1, 1, 0]


def test_semantic_maps_stay_as_they_are(folder: Path) -> None:
    dataset, _ = build_splits(data_of(folder), "semantic")
    assert not isinstance(dataset, Separated)
    assert dataset.categories.is_thing == [False, True, False, True]
    assert sorted(dataset.sample(0)["labels"].tolist()) == [ROAD, CAR, SKY, PERSON]


def test_smallest_object_is_larger_than_a_speck(folder: Path) -> None:
    values = np.full((40, 60), ROAD, np.uint8)
    values[0, :SPECK] = CAR
    values[20, : SPECK - 1] = CAR
    Image.fromarray(values).save(folder / "labels/train/drive1_a.png")
    dataset, _ = build_splits(data_of(folder), "panoptic")
    assert [s.area for s in dataset.truth(0).segments if s.label == CAR] == [SPECK]


def test_unknown_class_is_told_with_the_nearest(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.separate: .*no class 'cat'.*car"):
        build_splits(data_of(folder, separate=["cat"]), "panoptic")


def test_formats_that_know_objects_take_no_regions(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"separate is for label_maps; coco knows its own"):
        data_of(folder, format="coco")


def test_fold_holds_back_what_a_pattern_says(folder: Path) -> None:
    train, val = build_splits(data_of(folder, fold="drive2_*"), "panoptic")
    assert [val.file(i).name for i in range(len(val))] == ["drive2_a.png"]  # pyrefly: ignore
    assert len(train) == 2
    train, val = build_splits(data_of(folder, fold="train/drive1_*"), "panoptic")
    assert (len(train), len(val)) == (1, 2)


@pytest.mark.parametrize(("pattern", "many"), [("drive3_*", "none"), ("*.png", "all")])
def test_pattern_of_none_or_all_is_told(folder: Path, pattern: str, many: str) -> None:
    with pytest.raises(ValueError, match=rf"fits {many} of 3 pictures, such as .*drive1_a"):
        build_splits(data_of(folder, fold=pattern), "panoptic")


@pytest.mark.parametrize("fold", ["", [3, 3], [0, 1]])
def test_folds_that_divide_nothing_are_told(folder: Path, fold: object) -> None:
    with pytest.raises(ValueError, match="fold"):
        data_of(folder, fold=fold)


def test_recipe_street_is_panoptic_with_three_things(folder: Path) -> None:
    config = load_config("street")
    assert config.test.task == "panoptic"
    assert config.data.separate == ("Car", "Pedestrian", "Bicyclist")
