"""The COCO panoptic reader on real and on broken files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.build import build_splits
from mask2former.config import Data
from mask2former.data import CocoPanoptic
from mask2former.structures import IGNORE

SEGMENT = {"id": 300, "category_id": 1, "area": 24, "iscrowd": 0}


def write_set(folder: Path, label_size: tuple[int, int] = (8, 6), **changes: object) -> Path:
    """A picture of 8 x 6 pixels whose upper half is segment 300; `changes` replace JSON parts."""
    ids = np.zeros((label_size[1], label_size[0], 3), np.uint8)
    ids[:3] = (44, 1, 0)
    (folder / "set").mkdir()
    Image.fromarray(ids).save(folder / "set" / "a.png")
    Image.new("RGB", (8, 6)).save(folder / "a.jpg")
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}],
        "categories": [{"id": 1, "name": "sky", "isthing": 0}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [SEGMENT]}],
    }
    path = folder / "set.json"
    path.write_text(json.dumps(document | changes))
    return path


def annotate(*segments: dict, image: int = 1) -> dict:
    entry = {"image_id": image, "file_name": "a.png", "segments_info": list(segments)}
    return {"annotations": [entry]}


@pytest.mark.parametrize("kind", ["coarse_", ""])
def test_truth_agrees_with_the_json(shared_data: Path, kind: str) -> None:
    root = shared_data / "coco_panoptic"
    dataset = CocoPanoptic(root / "images" / "val", root / f"panoptic_{kind}val.json")
    crowds = 0
    for index in range(len(dataset)):
        truth = dataset.truth(index)
        assert truth.panoptic is not None and truth.semantic is not None
        found = dict(zip(*np.unique(truth.panoptic, return_counts=True), strict=True))
        found.pop(0, None)
        assert found == {s.id: s.area for s in truth.segments}
        assert ((truth.semantic == IGNORE) == (truth.panoptic == 0)).all()
        things = [s for s in truth.segments if dataset.categories[s.label].is_thing]
        assert [rle.area(o.rle) for o in truth.instances or []] == [s.area for s in things]
        crowds += sum(s.is_crowd for s in truth.segments)
    assert crowds == 2


def test_sample_gives_every_segment_but_crowds_an_id(shared_data: Path) -> None:
    root = shared_data / "coco_panoptic"
    dataset = CocoPanoptic(root / "images" / "train", root / "panoptic_coarse_train.json")
    for index in range(0, len(dataset), 5):
        sample, truth = dataset.sample(index), dataset.truth(index)
        targets = [s for s in truth.segments if not s.is_crowd]
        assert sample["labels"].tolist() == [s.label for s in targets]
        ids = sample["ids"].numpy()[0, 0]
        for number, segment in enumerate(targets, start=1):
            assert ((ids == number) == (truth.panoptic == segment.id)).all()


def test_tiny_set_is_read(tmp_path: Path) -> None:
    dataset = CocoPanoptic(tmp_path, write_set(tmp_path))
    truth = dataset.truth(0)
    assert truth.panoptic is not None and truth.semantic is not None
    assert truth.panoptic[:, 0].tolist() == [300, 300, 300, 0, 0, 0]
    assert truth.semantic[:, 0].tolist() == [0, 0, 0, IGNORE, IGNORE, IGNORE]
    assert truth.instances == []
    assert dataset.sample(0)["ids"].shape == (1, 1, 6, 8)


def test_crowd_alone_leaves_a_sample_without_objects(tmp_path: Path) -> None:
    path = write_set(tmp_path, **annotate(SEGMENT | {"iscrowd": 1}))
    sample = CocoPanoptic(tmp_path, path).sample(0)
    assert sample["labels"].shape == (0,)
    assert not sample["ids"].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": []}, "1 images have no annotation"),
        (annotate(SEGMENT, image=2), "image 2 has an annotation but"),
        (annotate({"id": 3}), r"a\.png: a segment \(id 3\) has no 'category_id'"),
        (annotate(SEGMENT | {"category_id": 5}), "segment 300 .* unknown category 5"),
        (annotate(SEGMENT | {"id": 0}), "segment 0 .* start at 1"),
        (annotate(SEGMENT, SEGMENT), "segment id 300 occurs more than once"),
    ],
)
def test_broken_annotations_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        CocoPanoptic(tmp_path, write_set(tmp_path, **changes))
    assert "set.json" in str(caught.value)


def test_segment_without_description_is_named(tmp_path: Path) -> None:
    dataset = CocoPanoptic(tmp_path, write_set(tmp_path, **annotate()))
    with pytest.raises(ValueError, match=r"a\.png: segment 300 is not described in .*set\.json"):
        dataset.truth(0)


def test_label_file_of_another_size_is_named(tmp_path: Path) -> None:
    dataset = CocoPanoptic(tmp_path, write_set(tmp_path, label_size=(9, 6)))
    with pytest.raises(ValueError, match=r"set/a\.png: the file is 9 x 6 pixels"):
        dataset.sample(0)


def test_missing_label_files_are_counted(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    (tmp_path / "set" / "a.png").unlink()
    with pytest.raises(ValueError, match=r"1 of its files are missing: .*a\.png"):
        CocoPanoptic(tmp_path, path)


def test_segments_keep_the_order_of_the_json(tmp_path: Path) -> None:
    """By it panoptic quality tells which of several crowds of a class counts."""
    first, second = (SEGMENT | {"id": number, "iscrowd": 1} for number in (300, 9))
    path = write_set(tmp_path, **annotate(first, second, SEGMENT | {"id": 40}))
    ids = np.zeros((6, 8, 3), np.uint8)
    ids[0], ids[1], ids[2] = (44, 1, 0), (9, 0, 0), (40, 0, 0)
    Image.fromarray(ids).save(tmp_path / "set" / "a.png")
    dataset = CocoPanoptic(tmp_path, path)
    truth = dataset.truth(0)
    assert [segment.id for segment in truth.segments] == [300, 9, 40]
    assert truth.panoptic is not None and truth.semantic is not None
    assert truth.panoptic[:, 0].tolist() == [300, 9, 40, 0, 0, 0]
    assert truth.semantic[:, 0].tolist() == [0, 0, 0, IGNORE, IGNORE, IGNORE]
    assert dataset.sample(0)["ids"][0, 0, :, 0].tolist() == [0, 0, 1, 0, 0, 0]


def test_semantic_targets_are_one_a_class_with_crowds(tmp_path: Path) -> None:
    crowd = SEGMENT | {"id": 9, "iscrowd": 1}
    things = [{"id": 1, "name": "cow", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]
    cow = SEGMENT | {"id": 40}
    path = write_set(tmp_path, **annotate(SEGMENT, cow, crowd), categories=things)
    ids = np.zeros((6, 8, 3), np.uint8)
    ids[0], ids[1], ids[2] = (44, 1, 0), (9, 0, 0), (40, 0, 0)
    Image.fromarray(ids).save(tmp_path / "set" / "a.png")
    tree = {"images": tmp_path, "annotations": path}
    data = Data.model_validate({"format": "coco_panoptic", "train": tree, "val": tree})
    dataset, _ = build_splits(data, "semantic")
    sample = dataset.sample(0)
    assert sample["labels"].tolist() == [0]
    assert sample["ids"][0, 0, :, 0].tolist() == [1, 1, 1, 0, 0, 0]
    truth = dataset.truth(0)
    assert truth.semantic is not None
    assert truth.semantic[:, 0].tolist() == [0, 0, 0, IGNORE, IGNORE, IGNORE]
    assert dataset.labels(0) == [0]
