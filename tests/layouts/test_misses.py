"""Folders that are nothing, or almost something: one sentence that says what is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import make
from make import as_colors

from mask2former.layouts import find_layout

SPLITS = {"train": make.shapes(3), "val": make.shapes(2, seed=1)}


def without(path: str, write: Callable[[Path], None]) -> Callable[[Path], None]:
    """Write a data set, and take a file or folder away."""

    def spoil(root: Path) -> None:
        write(root)
        (root / path).rename(root.parent / "elsewhere")

    return spoil


def boxes(root: Path) -> None:
    make.yolo(root, SPLITS)
    for file in (root / "labels").rglob("*.txt"):
        file.write_text("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n")


def lossy(root: Path) -> None:
    make.label_maps(root, SPLITS)
    for file in sorted((root / "labels").rglob("*.png")):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()


def unlisted(root: Path) -> None:
    make.label_maps(root, SPLITS)
    (root / "classes.txt").write_text("background\ncircle\n")


def unlisted_color(root: Path) -> None:
    make.label_maps(root, SPLITS, paint=as_colors)
    make.class_table(root, ("circle",))


def photographs(root: Path) -> None:
    make.label_maps(root, SPLITS)
    for file in sorted((root / "labels").rglob("*.png")):
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(noise).save(file)


def two_lists_of_yolo(root: Path) -> None:
    make.yolo(root, SPLITS)
    (root / "other.yaml").write_text((root / "data.yaml").read_text())


def nameless_yolo(root: Path) -> None:
    make.yolo(root, SPLITS)
    (root / "data.yaml").write_text("nc: 3\ntrain: images/train\nval: images/val\n")


def unpaired(root: Path) -> None:
    make.label_maps(root, SPLITS)
    (root / "labels" / "train" / "0000001.png").unlink()


def two_sets(root: Path) -> None:
    make.coco(root, SPLITS)
    document = (root / "annotations" / "instances_train2017.json").read_text()
    (root / "annotations" / "coarse_train2017.json").write_text(document)


def both(root: Path) -> None:
    make.coco(root, SPLITS)
    make.label_maps(root, SPLITS)


def wrong_key(root: Path) -> None:
    make.label_maps(root, SPLITS)
    (root / "data.yaml").write_text("clases: [a, b]\n")


MISSES: dict[str, tuple[Callable[[Path], None], str]] = {
    "an empty folder": (lambda root: None, "no data set found: COCO instances: .*YOLO.*VOC"),
    "pictures alone": (
        lambda root: make.write_picture(root, "a.png", np.zeros((9, 9, 3), np.uint8)),
        "no data set found.*have no label maps of their names",
    ),
    "COCO without its pictures": (
        without("train2017", lambda root: make.coco(root, SPLITS)),
        r"instances_train2017\.json is COCO instance JSON, but no folder here has its files \(00",
    ),
    "Cityscapes without its maps": (
        without("gtFine", lambda root: make.cityscapes(root, SPLITS)),
        "Cityscapes: no folder gtFine",
    ),
    "VOC without its pictures": (
        without("JPEGImages", lambda root: make.voc(root, SPLITS)),
        "Pascal VOC: no folder JPEGImages",
    ),
    "YOLO without its pictures": (
        without("images", lambda root: make.yolo(root, SPLITS)),
        r"data\.yaml: there is no 'images/train' here",
    ),
    "YOLO without names": (nameless_yolo, "'names' is None, no list"),
    "YOLO twice": (two_lists_of_yolo, r"data\.yaml, other\.yaml all describe YOLO data"),
    "boxes": (boxes, r"labels/train has boxes \(class x y width height\) and no masks"),
    "lossy maps": (lossy, r"\.jpg: label maps in a lossy form"),
    "a value without a class": (unlisted, r"classes\.txt: names no class for [23]"),
    "a colour without a class": (unlisted_color, r"class_dict\.csv: names no class for \[\d+, "),
    "maps that are photographs": (photographs, "more than 256 colours"),
    "a picture without its map": (unpaired, "no label map for 1 pictures of .*0000001"),
    "two sets of one kind": (two_sets, "2 sets of COCO instance JSON.*data.train.annotations="),
    "two layouts": (both, "fit COCO instances and label maps; choose by data.format=coco or"),
    "a wrong key": (wrong_key, "unknown setting 'data.clases'; did you mean 'classes'"),
}


@pytest.mark.parametrize(("write", "sentence"), MISSES.values(), ids=MISSES)
def test_near_miss_says_what_is_missing(
    write: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write(root)
    with pytest.raises(ValueError, match=sentence) as fault:
        find_layout(root)
    assert len(str(fault.value)) < 900
    assert "\n" not in str(fault.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: there is no such data folder"):
        find_layout(tmp_path / "nowhere")


def test_format_chooses_among_layouts(tmp_path: Path) -> None:
    both(tmp_path)
    for kind in ("coco", "label_maps"):
        assert find_layout(tmp_path, explicit={"format": kind}).data.format == kind
    assert find_layout(tmp_path, "semantic").data.format == "label_maps"
    assert find_layout(tmp_path, "instance").data.format == "coco"


def test_annotations_choose_among_sets(tmp_path: Path) -> None:
    two_sets(tmp_path)
    named = {
        "train": {"annotations": "annotations/coarse_train2017.json"},
        "val": {"annotations": "annotations/instances_val2017.json"},
    }
    data = find_layout(tmp_path, explicit=named).data
    assert data.train.annotations == Path("annotations/coarse_train2017.json")
    assert data.train.images == Path("train2017")


def test_task_that_the_data_cannot_teach_is_told(tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    with pytest.raises(
        ValueError, match=r"COCO instances, for instance or semantic segm.* not pano"
    ):
        find_layout(tmp_path, "panoptic")


def test_keypoints_and_captions_are_no_instances(tmp_path: Path) -> None:
    make.coco(tmp_path, SPLITS)
    document = make.coco_document(SPLITS["train"])
    for entry in document["annotations"]:
        entry["keypoints"] = [0, 0, 0]
    (tmp_path / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(document))
    captions = {**document, "annotations": [{"id": 1, "image_id": 1, "caption": "a circle"}]}
    (tmp_path / "annotations" / "captions_train2017.json").write_text(json.dumps(captions))
    assert find_layout(tmp_path).data.train.annotations == Path(
        "annotations/instances_train2017.json"
    )


NAMES = ("train", "images", "labels", "masks", "val", "a", "annotations", "leftImg8bit")
FILES = ("a.png", "a_mask.png", "b.json", "data.yaml", "classes.txt", "a.txt", "A.JPG", "c.csv")
CONTENTS = (
    b"",
    b"{}",
    b"[1]",
    b'{"images": [], "annotations": [], "categories": []}',
    b'{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"segmentation": []}]}',
    b'{"videos": [1, null, {"file_names": 3}]}',
    b"names: [a]\ntrain: images\n",
    b"names: 3\ntrain: ../../..\n",
    b"format: coco\n",
    b"\xff\xfe\x00",
    b"0 0.1 0.1 0.2 0.2 0.3 0.1",
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(NAMES), max_size=2),
            st.sampled_from(FILES),
            st.sampled_from(CONTENTS),
        ),
        max_size=6,
    )
)
def test_odd_folders_end_in_an_answer_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[list[str], str, bytes]]
) -> None:
    root = tmp_path_factory.mktemp("odd")
    for folders, name, content in files:
        folder = root.joinpath(*folders)
        folder.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            values = np.arange(9, dtype=np.uint8).reshape(3, 3) % (len(content) + 1)
            Image.fromarray(values).save(folder / name)
        else:
            (folder / name).write_bytes(content)
    try:
        found = find_layout(root)
    except ValueError as error:
        assert str(error)
    else:
        assert found.data.format is not None
        assert found.says
