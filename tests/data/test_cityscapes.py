"""The Cityscapes reader on a folder of the download's layout."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data import Cityscapes, ClassMaps, Dataset
from mask2former.structures import IGNORE

ROAD, CAR, PERSON, CARAVAN, OUT_OF_ROI = 7, 26, 24, 29, 3
VALUES = np.array(
    [
        [OUT_OF_ROI, OUT_OF_ROI, 0, 0, CARAVAN * 1000, CARAVAN],
        [ROAD, ROAD, CAR * 1000, CAR * 1000, CAR * 1000 + 12, CAR],
        [ROAD, ROAD, PERSON * 1000 + 1, PERSON, PERSON, CAR],
    ],
    np.uint16,
)


def write_town(
    root: Path, name: str = "aachen_000000_000019", *, shape=(3, 6)
) -> tuple[Path, Path]:
    images, annotations = root / "leftImg8bit" / "train", root / "gtFine" / "train"
    for folder in (images, annotations):
        (folder / "aachen").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(
        images / "aachen" / f"{name}_leftImg8bit.png"
    )
    Image.fromarray(VALUES).save(annotations / "aachen" / f"{name}_gtFine_instanceIds.png")
    (annotations / "aachen" / f"{name}_gtFine_labelIds.png").write_bytes(b"not read")
    (annotations / "aachen" / f"{name}_gtFine_polygons.json").write_bytes(b"not read")
    return images, annotations


def read(root: Path, task: str) -> Cityscapes:
    categories = Categories.bundled(f"cityscapes_{task}")
    return Cityscapes(*write_town(root), categories)


@pytest.mark.parametrize(("task", "count"), [("panoptic", 19), ("semantic", 19), ("instance", 8)])
def test_folders_are_paired_by_town_and_frame(tmp_path: Path, task: str, count: int) -> None:
    dataset = read(tmp_path, task)
    assert len(dataset) == 1
    assert len(dataset.categories) == count
    assert dataset.file(0).name == "aachen_000000_000019_leftImg8bit.png"
    sample = dataset.sample(0)
    assert sample["name"] == "aachen/aachen_000000_000019_leftImg8bit.png"
    assert sample["image"].shape == (1, 3, 3, 6)
    assert sample["ids"].shape == (1, 1, 3, 6)


def names(dataset: Dataset, labels: list[int]) -> list[str]:
    return [dataset.categories[label].name for label in labels]


def test_panoptic_targets_are_objects_and_kinds_of_stuff(tmp_path: Path) -> None:
    dataset = read(tmp_path, "panoptic")
    sample = dataset.sample(0)
    assert names(dataset, sample["labels"].tolist()) == ["road", "person", "car", "car"]
    assert sample["ids"][0, 0].tolist() == [[0] * 6, [1, 1, 3, 3, 4, 0], [1, 1, 2, 0, 0, 0]]


def test_instance_targets_are_the_numbered_things(tmp_path: Path) -> None:
    dataset = read(tmp_path, "instance")
    sample = dataset.sample(0)
    assert names(dataset, sample["labels"].tolist()) == ["person", "car", "car"]
    assert sample["ids"][0, 0].tolist() == [[0] * 6, [0, 0, 2, 2, 3, 0], [0, 0, 1, 0, 0, 0]]


def test_semantic_targets_join_objects_and_groups(tmp_path: Path) -> None:
    dataset = ClassMaps(read(tmp_path, "semantic"))
    sample = dataset.sample(0)
    drawn = names(dataset, sample["labels"].tolist())
    assert sorted(drawn) == ["car", "person", "road"]
    shown = [[drawn[i - 1] if i else "" for i in row] for row in sample["ids"][0, 0].tolist()]
    assert shown == [
        [""] * 6,
        ["road", "road", "car", "car", "car", "car"],
        ["road", "road", "person", "person", "person", "car"],
    ]


def test_truth_says_all_that_the_maps_say(tmp_path: Path) -> None:
    dataset = read(tmp_path, "panoptic")
    truth = dataset.truth(0)
    road, person, car = (dataset.categories.label_of[i] for i in (ROAD, PERSON, CAR))
    assert truth.size == (3, 6)
    assert truth.semantic is not None
    assert truth.panoptic is not None
    assert truth.instances is not None
    assert truth.semantic.tolist() == [
        [IGNORE] * 6,
        [road, road, car, car, car, car],
        [road, road, person, person, person, car],
    ]
    assert (truth.panoptic == np.where(truth.semantic == IGNORE, 0, VALUES)).all()
    assert [(s.id, s.label, s.area, s.is_crowd) for s in truth.segments] == [
        (ROAD, road, 4, False),
        (PERSON, person, 2, True),
        (CAR, car, 2, True),
        (PERSON * 1000 + 1, person, 1, False),
        (CAR * 1000, car, 2, False),
        (CAR * 1000 + 12, car, 1, False),
    ]
    assert [(i.label, i.area, i.is_crowd) for i in truth.instances] == [
        (s.label, s.area, s.is_crowd) for s in truth.segments[1:]
    ]
    assert (rle.decode(truth.instances[1].rle) == (VALUES == CAR)).all()


def test_truth_of_things_knows_no_stuff(tmp_path: Path) -> None:
    truth = read(tmp_path, "instance").truth(0)
    assert truth.instances is not None
    assert [i.is_crowd for i in truth.instances] == [True, True, False, False, False]
    assert len(truth.segments) == 5


def test_empty_town_is_kept(tmp_path: Path) -> None:
    images, annotations = write_town(tmp_path)
    map_file = next(annotations.rglob("*instanceIds.png"))
    Image.fromarray(np.zeros((3, 6), np.uint16)).save(map_file)
    dataset = Cityscapes(images, annotations, Categories.bundled("cityscapes_instance"))
    assert dataset.sample(0)["labels"].shape == (0,)
    assert dataset.truth(0).segments == []


def test_picture_without_a_map_is_named(tmp_path: Path) -> None:
    images, annotations = write_town(tmp_path)
    next(images.rglob("*.png")).rename(images / "aachen" / "aachen_2_leftImg8bit.png")
    with pytest.raises(ValueError, match=r"no label map for 1 pictures of .*: aachen/aachen_2"):
        Cityscapes(images, annotations, Categories.bundled("cityscapes_panoptic"))


def test_other_sizes_are_named(tmp_path: Path) -> None:
    images, annotations = write_town(tmp_path, shape=(4, 6))
    dataset = Cityscapes(images, annotations, Categories.bundled("cityscapes_panoptic"))
    with pytest.raises(ValueError, match=r"leftImg8bit\.png and .*instanceIds\.png are not of one"):
        dataset.sample(0)
    with pytest.raises(ValueError, match=r"leftImg8bit\.png and .*instanceIds\.png are not of one"):
        ClassMaps(dataset).sample(0)


def test_class_list_with_other_ids_than_the_maps_is_refused(tmp_path: Path) -> None:
    train_ids = Categories.from_json([{"id": 0, "name": "road"}, {"id": 7, "name": "sign"}])
    with pytest.raises(ValueError, match=r"gives 'road' the id 0, but Cityscapes' maps have 7"):
        Cityscapes(*write_town(tmp_path), train_ids)
