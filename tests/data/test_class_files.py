"""Lists of classes as other tools write them, and what values and colours of maps mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.build import build_splits
from mask2former.config import Config, parse_config
from mask2former.data.class_files import colors_by_name, read_class_file, read_class_lines
from mask2former.structures import IGNORE

LISTS = {
    "class_dict.csv": "name,r,g,b\nSky, 1, 2, 3\nRoad,4,5,6\n",
    "labels.csv": "Label,Red,Green,Blue\nSky,1,2,3\nRoad,4,5,6",
    "labelmap.txt": "# label:color_rgb:parts:actions\nSky:1,2,3::\nRoad:4,5,6::\n",
    "bom.csv": "\ufeffname,r,g,b\r\nSky,1,2,3\r\nRoad,4,5,6\r\n",
}


@pytest.mark.parametrize(("name", "text"), LISTS.items())
def test_lists_with_colours_agree(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert colors_by_name(tmp_path / name) == {"Sky": (1, 2, 3), "Road": (4, 5, 6)}
    found = read_class_file(tmp_path / name)
    assert [(k.id, k.name, k.color) for k in found] == [
        (0, "Sky", (1, 2, 3)),
        (1, "Road", (4, 5, 6)),
    ]


def test_lists_of_names_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("sky\n\nroad of stone\n")
    assert read_class_file(tmp_path / "classes.txt").names == ["sky", "road of stone"]
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, background\n7, road\n")
    lines = read_class_lines(tmp_path / "_classes.csv")
    assert [(line.number, line.name) for line in lines] == [(0, "background"), (7, "road")]


FAULTS = {
    "empty.txt": ("", "names no class"),
    "header.csv": ("a,b,c\n1,2,3", "its first line names no column name"),
    "short.csv": ("name,r,g,b\nsky,1,2", "the line 'sky,1,2' is no class"),
    "bright.csv": ("name,r,g,b\nsky,1,2,300", "the line .* is no class"),
    "twice.csv": ("name,id\nsky,1\nroad,1", "ids must be unique"),
    "map.txt": ("sky:1,2,x::\n", "is no name:r,g,b:parts:actions"),
    "list.json": ('{"class": []}', 'no list "classes"'),
}


@pytest.mark.parametrize(("name", "fault"), FAULTS.items())
def test_broken_lists_are_named(name: str, fault: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / name).write_text(fault[0])
    with pytest.raises(ValueError, match=rf"{name}.*{fault[1]}"):
        read_class_file(tmp_path / name)


def maps(root: Path, pixels: np.ndarray, **settings: object) -> Config:
    for folder in ("images", "labels"):
        (root / folder).mkdir(exist_ok=True)
    Image.new("RGB", pixels.shape[1::-1]).save(root / "images" / "a.png")
    Image.fromarray(pixels).save(root / "labels" / "a.png")
    split = {"images": "images", "annotations": "labels"}
    data = {"format": "label_maps", "root": str(root), "train": split, "val": split, **settings}
    return parse_config({"data": data}, "the test")


def truth(config: Config) -> tuple[list[str], np.ndarray]:
    train, _ = build_splits(config.data, "semantic")
    semantic = train.truth(0).semantic
    assert semantic is not None
    return train.categories.names, semantic


VALUES = np.array([[0, 1, 2, 255]] * 3, np.uint8)


@pytest.mark.parametrize(
    ("background", "classes", "names", "labels"),
    [
        ("none", ["a", "b", "c"], ["a", "b", "c"], [0, 1, 2, IGNORE]),
        ("void", ["a", "b", "c"], ["b", "c"], [IGNORE, 0, 1, IGNORE]),
        ("void", {1: "b", 2: "background"}, ["b"], None),
        ("class", {1: "b", 2: "c"}, ["background", "b", "c"], [0, 1, 2, IGNORE]),
        ("class", ["background", "b", "c"], ["background", "b", "c"], [0, 1, 2, IGNORE]),
        ("void", ["x", "background", "c"], ["x", "c"], [0, IGNORE, 1, IGNORE]),
    ],
)
def test_background_is_a_class_or_nobody(
    background: str, classes: object, names: list[str], labels: list[int] | None, tmp_path: Path
) -> None:
    config = maps(tmp_path, VALUES, classes=classes, background=background)
    if labels is None:  # the named one is meant, and 0 stays unknown
        with pytest.raises(ValueError, match="the value 0 is neither"):
            truth(config)
        return
    found, semantic = truth(config)
    assert found == names
    assert semantic[0].tolist() == labels


COLORS = np.array([[[0, 0, 0], [9, 0, 0], [0, 9, 0], [7, 7, 7]]] * 3, np.uint8)
NAMED = {"a": (0, 0, 0), "b": (9, 0, 0), "c": (0, 9, 0)}


def test_colours_are_classes_and_void_is_nobody(tmp_path: Path) -> None:
    config = maps(tmp_path, COLORS, colors={**NAMED, "void": (7, 7, 7)})
    assert truth(config)[0] == ["a", "b", "c"]
    assert truth(config)[1][0].tolist() == [0, 1, 2, IGNORE]


def test_colours_follow_the_list_of_classes(tmp_path: Path) -> None:
    classes = [{"id": 5, "name": "c"}, {"id": 3, "name": "b"}, {"id": 0, "name": "a"}]
    config = maps(tmp_path, COLORS[:, :3], colors=NAMED, classes=classes, background="void")
    names, semantic = truth(config)
    assert names == ["c", "b"]
    assert semantic[0].tolist() == [IGNORE, 1, 0]


def test_colours_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "dict.csv").write_text("name,r,g,b\na,0,0,0\nb,9,0,0\nc,0,9,0\n")
    config = maps(tmp_path, COLORS[:, :3], colors="dict.csv")
    assert truth(config)[1][0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"colors": NAMED}, r"a\.png: the colour \[7, 7, 7\] is of no class \(3 pixels\)"),
        ({"colors": {"a": (1, 1, 1), "b": (1, 1, 1)}}, "a and b have one colour"),
        ({"colors": NAMED, "classes": ["a", "b", "d"]}, "has none for the class 'd'"),
        ({"colors": NAMED, "classes": ["a", "b"]}, "data.classes has no class 'c'"),
    ],
)
def test_faults_of_colours_are_told(settings: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        truth(maps(tmp_path, COLORS, **settings))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"classes": [1, 2]}, "classes: 1 is no class; write names"),
        ({"classes": {"road": 1}}, "must be names by number"),
        ({"colors": {"road": [1, 2, 300]}}, "colors"),
        ({"format": "coco_panoptic", "background": "void"}, "background=void is for label maps"),
        ({"format": "coco", "train": {"names": "a.txt"}}, "names choose pictures of"),
    ],
)
def test_faults_of_settings_are_told(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_config({"data": settings}, "the test")
