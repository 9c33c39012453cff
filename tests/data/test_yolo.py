"""YOLO's polygons: what is read, and what is refused with its file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.categories import Categories, Category
from mask2former.data import YoloPolygons

NAMES = Categories([Category(0, "cell", (1, 2, 3)), Category(1, "rim", (4, 5, 6))])
SQUARE = "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"


def write(root: Path, *labels: str | None) -> YoloPolygons:
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for number, text in enumerate(labels):
        Image.new("RGB", (40, 20)).save(root / "images" / f"{number}.png")
        if text is not None:
            (root / "labels" / f"{number}.txt").write_text(text)
    return YoloPolygons(root / "images", root / "labels", NAMES)


def test_polygons_are_shares_of_the_sides(tmp_path: Path) -> None:
    dataset = write(tmp_path, f"{SQUARE}\n1 0 0 0.1 0 0.1 1 0 1\n", "", None)
    sample = dataset.sample(0)
    assert sample["labels"].tolist() == [0, 1]
    square = np.zeros((20, 40), bool)
    square[5:15, 10:30] = True
    assert ((sample["ids"][0, 0] == 1).numpy() == square).all()
    first, second = dataset.truth(0).instances or ()
    assert (first.area, second.area) == (200, 80)
    assert dataset.labels(0) == [0, 1]


def test_picture_without_lines_or_file_has_no_objects(tmp_path: Path) -> None:
    dataset = write(tmp_path, SQUARE, "", None, " \n\n")
    for index in (1, 2, 3):
        assert dataset.sample(index)["labels"].tolist() == []
        assert dataset.truth(index).instances == []
    assert "1 of 4 pictures have no label file" in dataset.notes[0]


def test_turned_picture_is_measured_upright(tmp_path: Path) -> None:
    dataset = write(tmp_path, SQUARE)
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new("RGB", (40, 20)).save(tmp_path / "images" / "0.png", exif=exif)
    assert dataset.image(0).shape == (40, 20, 3)
    assert dataset.truth(0).size == (40, 20)
    assert dataset.sample(0)["ids"].shape[-2:] == (40, 20)


def test_list_of_names_chooses_pictures(tmp_path: Path) -> None:
    write(tmp_path, SQUARE, SQUARE, SQUARE)
    names = tmp_path / "list.txt"
    names.write_text("./images/2.png\n/home/other/data/images/0.png\n")
    dataset = YoloPolygons(tmp_path / "images", tmp_path / "labels", NAMES, names=names)
    assert [dataset.file(index).name for index in range(2)] == ["2.png", "0.png"]
    names.write_text("images/7.png\n")
    with pytest.raises(ValueError, match=r"list\.txt: 1 of the pictures .* missing: images/7"):
        YoloPolygons(tmp_path / "images", tmp_path / "labels", NAMES, names=names)


FAULTS = {
    "a class beyond the names": ("2 0 0 1 0 1 1", "the class 2 has no name; the names end at 1"),
    "a negative class": ("-1 0 0 1 0 1 1", "the class -1 has no name"),
    "half a class": ("0.5 0 0 1 0 1 1", "the class 0.5 has no name"),
    "a box": ("0 0.5 0.5 0.2 0.2", "a box .* has no mask"),
    "two points and a half": ("0 0.5 0.5 0.2 0.2 0.3 0.3 0.1", "7 coordinates are no polygon"),
    "a line": ("0 0 1", "2 coordinates are no polygon"),
    "pixels": ("0 10 10 20 10 20 20", "the coordinate 10 is no share of a side"),
    "NaN": ("0 nan 0 1 0 1 1", "the coordinate nan is no share"),
    "words": ("cell 0 0 1 0 1 1", "'cell 0 0 1 0 1 1' is no class number"),
}


@pytest.mark.parametrize(("line", "sentence"), FAULTS.values(), ids=FAULTS)
def test_fault_names_file_and_line(line: str, sentence: str, tmp_path: Path) -> None:
    dataset = write(tmp_path, f"{SQUARE}\n{line}")
    for read in (dataset.sample, dataset.truth):
        with pytest.raises(ValueError, match=rf"0\.txt:2: {sentence}"):
            read(0)


def test_folder_without_any_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no label file for any picture"):
        write(tmp_path, None, None)


def test_binary_label_file_is_named(tmp_path: Path) -> None:
    dataset = write(tmp_path, SQUARE)
    (tmp_path / "labels" / "0.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"0\.txt: is no text"):
        dataset.sample(0)
