"""labelme's files: what is read, and what is refused with its file."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories, Category
from mask2former.data import CocoInstances, LabelmeShapes
from mask2former.polygons import outlines
from mask2former.saving.labelme import write_labelme
from mask2former.saving.regions import Record
from mask2former.structures import Instances

SQUARE = [[2, 3], [10, 3], [10, 9], [2, 9]]
HEIGHT, WIDTH = 20, 40


def shape(kind: str = "polygon", points: list | None = None, **more: Any) -> dict:
    points = SQUARE if points is None else points
    return {"label": "cell", "points": points, "group_id": None, "shape_type": kind, **more}


def write(root: Path, *shapes: dict, name: str = "a", picture: bool = True, **more: Any) -> None:
    if picture:
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"{name}.png")
    document = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{name}.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    (root / f"{name}.json").write_text(json.dumps({**document, **more}))


def masks(dataset: LabelmeShapes, index: int = 0) -> list[np.ndarray]:
    return [rle.decode(found.rle) for found in dataset.truth(index).instances or ()]


def square(top: int = 3, bottom: int = 9, left: int = 2, right: int = 10) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def in_base64(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_kinds_of_shapes_with_an_area(tmp_path: Path) -> None:
    corner = np.array([[1, 0], [1, 1]], np.uint8)
    write(
        tmp_path,
        shape(),
        shape("rectangle", [[10, 9], [2, 3]]),
        shape("circle", [[20, 10], [20, 16]]),
        shape("mask", [[30, 4], [31, 5]], mask=in_base64(corner)),
        shape("oriented_rectangle"),
        {"label": "cell", "points": SQUARE},  # as the first versions wrote it
    )
    polygon, rectangle, circle, mask, turned, old = masks(LabelmeShapes(tmp_path, tmp_path))
    for found in (polygon, rectangle, turned, old):
        assert (found == square()).all()
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = (x - 20) ** 2 + (y - 10) ** 2 <= 36
    assert (circle & expected).sum() > 0.97 * (circle | expected).sum()
    assert np.argwhere(mask).tolist() == [[4, 30], [5, 30], [5, 31]]


def test_mask_over_the_edge_is_cut(tmp_path: Path) -> None:
    pixels = np.ones((6, 6), bool)
    write(tmp_path, *(shape("mask", [p, p], mask=in_base64(pixels)) for p in ([-2, -3], [37, 18])))
    first, second = masks(LabelmeShapes(tmp_path, tmp_path))
    assert (first == square(0, 3, 0, 4)).all()
    assert (second == square(18, 20, 37, 40)).all()


def test_pieces_of_a_group_are_one_object(tmp_path: Path) -> None:
    far = [[20, 3], [28, 3], [28, 9], [20, 9]]
    pixels = np.ones((2, 2), bool)
    write(
        tmp_path,
        shape(group_id=1),
        shape(points=far, group_id=1),
        shape("mask", [[34, 0], [35, 1]], mask=in_base64(pixels), group_id=1),
        shape(label="rim", group_id=1),
        shape(),
    )
    dataset = LabelmeShapes(tmp_path, tmp_path)
    assert dataset.categories.names == ["cell", "rim"]
    assert dataset.labels(0) == [0, 1, 0]
    joined, rim, alone = masks(dataset)
    assert (joined == square() | square(left=20, right=28) | square(0, 2, 34, 36)).all()
    assert (rim == alone).all()
    assert dataset.sample(0)["labels"].tolist() == [0, 1, 0]


def test_classes_are_the_labels_or_those_of_a_list(tmp_path: Path) -> None:
    write(tmp_path, shape(label="b"), shape(label="a"))
    write(tmp_path, name="empty")
    dataset = LabelmeShapes(tmp_path, tmp_path)
    assert dataset.categories.names == ["a", "b"]
    assert [dataset.labels(i) for i in (0, 1)] == [[1, 0], []]
    known = Categories(Category(k, name, (0, 0, 0)) for k, name in enumerate(["c", "b", "a"]))
    assert LabelmeShapes(tmp_path, tmp_path, known).labels(0) == [1, 2]


def test_pictures_are_found_by_path_or_name(tmp_path: Path) -> None:
    images, labels = tmp_path / "images" / "train", tmp_path / "labels" / "train"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    said = {
        "a": "../../images/train/a.png",
        "b": "..\\..\\images\\train\\b.png",
        "c": "/gone/c.png",
        "d": "photo.jpg",
    }
    for name, path in said.items():
        Image.new("RGB", (WIDTH, HEIGHT)).save(images / f"{name}.png")
        write(labels, shape(), name=name, picture=False, imagePath=path, imageData="aGVsbG8=")
    Image.new("RGB", (4, 4)).save(images / "unused.png")
    dataset = LabelmeShapes(images, labels)
    assert [dataset.file(i) for i in range(4)] == [images / f"{name}.png" for name in said]
    assert dataset.notes == [f"{labels}: 1 pictures have no file of labelme and are left out"]
    names = tmp_path / "some.txt"
    names.write_text("c\na.png\n")
    assert len(LabelmeShapes(images, labels, names=names)) == 2


def test_lines_and_points_are_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path, shape("point", [[1, 1]]), shape("linestrip"), shape("rectangle", SQUARE[::2]))
    dataset = LabelmeShapes(tmp_path, tmp_path)
    assert dataset.labels(0) == [0]
    assert "2 shapes have no area (linestrip and point)" in dataset.notes[0]
    assert "every shape is a rectangle" in dataset.notes[1]


FAULTS = {
    "an unknown type": (shape("spline"), r"a\.json: shape 1: the shape type 'spline' is unknown"),
    "no points": ({"label": "cell"}, r"shape 1: it has no list of 'points'"),
    "too few points": (shape(points=SQUARE[:2]), "a polygon has 3 points or more, not 2"),
    "no numbers": (shape(points=[[1, 2], [3, "4"], [5, 6]]), r"the point \[3, '4'\] is no"),
    "NaN": (shape(points=[[1, 2], [3, float("nan")], [5, 6]]), "the point .* is no"),
    "no label": ({**shape(), "label": None}, "it has no 'label'"),
    "no shape": (3, "it has no 'label'"),
    "a mask without pixels": (shape("mask", SQUARE[:2], mask=None), "a mask without pixels"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_shapes_are_named(name: str, tmp_path: Path) -> None:
    wrong, sentence = FAULTS[name]
    write(tmp_path, wrong)  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(ValueError, match=sentence):
        LabelmeShapes(tmp_path, tmp_path)


def test_broken_masks_are_named(tmp_path: Path) -> None:
    for text in ("no base64!", base64.b64encode(b"no picture").decode()):
        write(tmp_path, shape("mask", SQUARE[:2], mask=text))
        with pytest.raises(ValueError, match=r"a\.json: 'cell': its mask is no PNG in base64"):
            LabelmeShapes(tmp_path, tmp_path).truth(0)


def test_faulty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no JSON file of labelme"):
        LabelmeShapes(tmp_path, tmp_path)
    (tmp_path / "a.json").write_text('{"shapes": [')
    with pytest.raises(ValueError, match=r"a\.json: not valid JSON"):
        LabelmeShapes(tmp_path, tmp_path)
    write(tmp_path, shape(), picture=False)
    with pytest.raises(ValueError, match=r"a\.json: its picture 'a\.png' is neither there nor in"):
        LabelmeShapes(tmp_path, tmp_path)
    write(tmp_path, shape(), shapes=None)
    with pytest.raises(ValueError, match=r"a\.json: there is no list of 'shapes'"):
        LabelmeShapes(tmp_path, tmp_path)
    write(tmp_path, shape(label="cel"))
    known = Categories([Category(0, "cell", (0, 0, 0))])
    with pytest.raises(ValueError, match=r"the label 'cel' is no class.*did you mean 'cell'"):
        LabelmeShapes(tmp_path, tmp_path, known)
    write(tmp_path, shape(), imageWidth=41)
    with pytest.raises(ValueError, match=r"a\.png: the file is 40 x 20 pixels, but .* says 41"):
        LabelmeShapes(tmp_path, tmp_path).sample(0)
    write(tmp_path, shape())
    write(tmp_path, shape(), name="b", picture=False, imagePath="a.png")
    with pytest.raises(ValueError, match=r"b\.json and a\.json are of one picture; keep one"):
        LabelmeShapes(tmp_path, tmp_path)


def without_holes(mask: np.ndarray) -> np.ndarray:
    rings = [part[0].ravel().tolist() for part in outlines(mask)]
    return rle.decode(rle.from_annotation(rings, *mask.shape))


def test_results_come_back(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "nuclei"
    source = CocoInstances(root / "images" / "val", root / "instances_val.json")
    objects = (source.truth(1).instances or [])[:60]
    found = np.stack([rle.decode(each.rle) for each in objects])[:, None]
    found[0, 0] |= found[1, 0]  # of two parts
    result = Instances.of_masks(found, np.zeros(len(found), int), np.ones(len(found), np.float32))
    with write_labelme(tmp_path, source.categories) as add:
        add(Record([source.file(1).name], result, source.file(1)))
    dataset = LabelmeShapes(tmp_path / "labelme", tmp_path / "labelme")
    assert dataset.file(0).samefile(source.file(1))
    assert dataset.categories.names == source.categories.names
    again = masks(dataset)
    assert len(again) == len(found)
    for mask, expected in zip(again, found[:, 0], strict=True):
        assert (mask == without_holes(expected)).all()
        assert (mask & expected).sum() >= 0.9 * (mask | expected).sum()
