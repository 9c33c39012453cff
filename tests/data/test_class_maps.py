"""Objects painted as maps of classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from mask2former.build import build_split, build_splits
from mask2former.categories import Categories, Category
from mask2former.config import Data
from mask2former.data import CocoInstances, PaintedObjects
from mask2former.structures import IGNORE

SQUARE = {"cat": [0, 0, 6, 0, 6, 6, 0, 6], "dog": [2, 2, 4, 2, 4, 4, 2, 4]}
SIZE = (8, 10)


def write_set(folder: Path, names: tuple[str, ...] = ("cat", "dog"), *, crowd: int = 0) -> Path:
    """A dog that is listed before the cat around it, in a picture of 10 x 8."""
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": names.index(name) + 1,
            "segmentation": [SQUARE[name]],
            "area": 1,  # whatever a tool says of it
            "iscrowd": crowd,
        }
        for number, name in enumerate(("dog", "cat"))
    ]
    image = {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    Image.new("RGB", SIZE[::-1]).save(folder / "a.png")
    path = folder / "set.json"
    document = {"images": [image], "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document))
    return path


def data_of(folder: Path, **settings: object) -> Data:
    split = {"images": folder, "annotations": folder / "set.json"}
    return Data.model_validate({"format": "coco", "train": split, "val": split, **settings})


def expected(cat: int, dog: int, rest: int) -> np.ndarray:
    labels = np.full(SIZE, rest)
    labels[:6, :6] = cat
    labels[2:4, 2:4] = dog
    return labels


@pytest.mark.parametrize("crowd", [0, 1])
def test_smaller_objects_are_on_top_and_crowds_are_of_their_class(
    crowd: int, tmp_path: Path
) -> None:
    dataset = PaintedObjects(
        CocoInstances(tmp_path, write_set(tmp_path, crowd=crowd)), background="class"
    )
    assert dataset.categories.names == ["background", "cat", "dog"]
    assert dataset.categories.is_thing == [False, True, True]
    assert dataset.categories[0].id == 0
    assert (dataset.class_map(0) == expected(1, 2, 0)).all()
    truth, sample = dataset.truth(0), dataset.sample(0)
    assert (truth.semantic == expected(1, 2, 0)).all()
    assert truth.instances is None
    assert sample["labels"].tolist() == [0, 1, 2]
    assert (sample["ids"][0, 0].numpy() == expected(2, 3, 1)).all()


def test_what_is_no_object_may_count_for_nobody(tmp_path: Path) -> None:
    write_set(tmp_path)
    dataset, _ = build_splits(data_of(tmp_path, background="void"), "semantic")
    assert dataset.categories.names == ["cat", "dog"]
    assert (dataset.truth(0).semantic == expected(0, 1, IGNORE)).all()


@pytest.mark.parametrize("background", ["none", "class", "void"])
def test_background_of_the_data_itself_is_no_second_class(
    background: Literal["none", "class", "void"], tmp_path: Path
) -> None:
    write_set(tmp_path, ("cat", "Background", "dog"))
    dataset, _ = build_splits(data_of(tmp_path, background=background), "semantic")
    void = background == "void"
    assert dataset.categories.names == (["cat", "dog"] if void else ["cat", "Background", "dog"])
    labels = expected(0, 1, IGNORE) if void else expected(0, 2, 1)
    assert (dataset.truth(0).semantic == labels).all()


def test_labels_are_those_of_a_trained_model(tmp_path: Path) -> None:
    write_set(tmp_path)
    names = ("dog", "_background_", "cat")
    model = Categories(Category(number, name, (0, 0, 0)) for number, name in enumerate(names))
    dataset = build_split(data_of(tmp_path), "val", "semantic", model)
    assert dataset.categories.names == list(names)
    assert (dataset.truth(0).semantic == expected(2, 0, 1)).all()
    bare = Categories(category for category in model if category.name != "_background_")
    dataset = build_split(data_of(tmp_path), "val", "semantic", bare)
    assert (dataset.truth(0).semantic == expected(1, 0, IGNORE)).all()
    assert "no class background" in dataset.notes[-1]


def test_classes_are_joined_and_left_out_as_in_maps(tmp_path: Path) -> None:
    write_set(tmp_path)
    data = data_of(tmp_path, merge={"rest": ["background", "cat"]}, ignore_classes=["dog"])
    train, val = build_splits(data, "semantic")
    for dataset in (train, val):
        assert dataset.categories.names == ["rest"]
        assert (dataset.truth(0).semantic == expected(0, IGNORE, 0)).all()
        assert dataset.sample(0)["labels"].tolist() == [0]


def test_objects_alone_have_no_background(tmp_path: Path) -> None:
    write_set(tmp_path)
    with pytest.raises(ValueError, match=r"background=void is for semantic.*instance learns obj"):
        build_splits(data_of(tmp_path, background="void"), "instance")
