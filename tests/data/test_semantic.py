"""The label map reader on CamVid and on tiny folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.categories import Categories, Category
from mask2former.data import LabelMaps
from mask2former.structures import IGNORE

TWO = Categories([Category(4, "sky", (0, 0, 255)), Category(9, "road", (99, 99, 99))])


def write_pair(root: Path, values: np.ndarray, name: str = "a") -> tuple[Path, Path]:
    images, labels = root / "images", root / "labels"
    for folder in (images, labels):
        (folder / "town").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(images / "town" / f"{name}.jpg")
    Image.fromarray(values).save(labels / "town" / f"{name}.png")
    return images, labels


def test_camvid_is_read_with_its_void_ignored(shared_data: Path) -> None:
    root = shared_data / "camvid"
    categories = Categories.from_json(json.loads((root / "classes.json").read_text())["classes"])
    dataset = LabelMaps(
        root / "images" / "train", root / "labels" / "train", categories, ignore=(11,)
    )
    assert len(dataset) == 367
    for index in range(0, len(dataset), 60):
        name = dataset.file(index).stem
        values = np.array(Image.open(root / "labels" / "train" / f"{name}.png")).astype(int)
        semantic = dataset.truth(index).semantic
        assert semantic is not None
        assert (semantic == np.where(values == 11, IGNORE, values)).all()
        sample = dataset.sample(index)
        assert sample["labels"].tolist() == sorted(set(values.ravel()) - {11})
        label_of_id = np.array([IGNORE, *sample["labels"].tolist()])
        assert (label_of_id[sample["ids"].numpy()[0, 0]] == semantic).all()


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_values_are_category_ids(tmp_path: Path, depth: type) -> None:
    values = np.array([[4, 4, 9, 255]] * 3, depth)
    dataset = LabelMaps(*write_pair(tmp_path, values), TWO)
    truth = dataset.truth(0)
    assert truth.semantic is not None
    assert truth.semantic[0].tolist() == [0, 0, 1, IGNORE]
    assert dataset.sample(0)["name"] == "town/a.jpg"


def test_offset_is_added_to_what_is_not_ignored(tmp_path: Path) -> None:
    values = np.array([[0, 5, 10, 5]] * 3, np.uint8)
    dataset = LabelMaps(*write_pair(tmp_path, values), TWO, ignore=(0,), offset=-1)
    truth = dataset.truth(0)
    assert truth.semantic is not None
    assert truth.semantic[0].tolist() == [IGNORE, 0, 1, 0]


def test_picture_of_nothing_but_void_is_kept(tmp_path: Path) -> None:
    dataset = LabelMaps(*write_pair(tmp_path, np.full((3, 4), 255, np.uint8)), TWO)
    sample = dataset.sample(0)
    assert sample["labels"].shape == (0,)
    assert not sample["ids"].any()


def test_endings_pair_other_names(tmp_path: Path) -> None:
    images, labels = write_pair(tmp_path, np.full((3, 4), 4, np.uint8), "a_labels")
    (images / "town" / "a_labels.jpg").rename(images / "town" / "a_picture.jpg")
    (labels / "town" / "a_colours.png").write_bytes(b"not read")
    for endings in (("_picture", "_labels"), ("_picture.jpg", "_labels.png")):
        dataset = LabelMaps(images, labels, TWO, endings=endings)
        assert len(dataset) == 1
        assert dataset.sample(0)["labels"].tolist() == [0]


def test_file_type_of_an_ending_chooses_among_files_of_one_name(tmp_path: Path) -> None:
    images, labels = write_pair(tmp_path, np.full((3, 4), 4, np.uint8))
    (labels / "town" / "a.jpg").write_bytes(b"not read")
    assert len(LabelMaps(images, labels, TWO, endings=("", ".png"))) == 1


def test_unknown_value_is_named(tmp_path: Path) -> None:
    dataset = LabelMaps(*write_pair(tmp_path, np.full((3, 4), 5, np.uint8)), TWO)
    with pytest.raises(ValueError, match=r"a\.png: the value 5 is neither"):
        dataset.truth(0)


def test_coloured_labels_are_refused(tmp_path: Path) -> None:
    dataset = LabelMaps(*write_pair(tmp_path, np.zeros((3, 4, 3), np.uint8)), TWO)
    with pytest.raises(ValueError, match=r"a\.png: a label map has one channel"):
        dataset.truth(0)


def test_sizes_that_differ_are_named(tmp_path: Path) -> None:
    dataset = LabelMaps(*write_pair(tmp_path, np.full((4, 4), 4, np.uint8)), TWO)
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png are not of one size"):
        dataset.sample(0)


def test_pictures_without_labels_are_counted(tmp_path: Path) -> None:
    images, labels = write_pair(tmp_path, np.full((3, 4), 4, np.uint8))
    Image.new("RGB", (4, 3)).save(images / "b.png")
    with pytest.raises(ValueError, match=r"no label map for 1 pictures of .*: b"):
        LabelMaps(images, labels, TWO)


def test_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        LabelMaps(tmp_path / "images", tmp_path / "labels", TWO)
