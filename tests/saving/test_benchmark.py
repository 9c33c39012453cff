"""What benchmarks' servers take is read by their own code, and says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mask2former import rle
from mask2former.categories import Categories, Task
from mask2former.files import read_label_map, read_panoptic_ids
from mask2former.saving.benchmark import write_results
from mask2former.structures import Instances, Panoptic, Segment, SemanticMap

CATEGORIES = Categories.from_json(
    [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}, {"id": 4, "name": "sky", "isthing": 0}]
)
SIZE = (12, 17)


def test_instances_are_the_list_that_coco_loads(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((3, 1, *SIZE)) > 0.5
    result = Instances.of_masks(masks, np.array([1, 0, 1]), np.array([0.9, 0.5, 0.1], np.float32))
    with write_results(tmp_path, "instance", CATEGORIES) as put:
        put(12, "a.png", result)
        put(5, "b.png", result.select(np.array([2])))
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": number, "height": SIZE[0], "width": SIZE[1]} for number in (12, 5)],
        "categories": [{"id": 7}, {"id": 90}],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes(str(tmp_path / "instances.json"))
    found = loaded.loadAnns(loaded.getAnnIds(imgIds=[12]))
    assert [one["category_id"] for one in found] == [90, 7, 90]
    for one, mask in zip(found, masks[:, 0], strict=True):
        assert np.array_equal(rle.decode(one["segmentation"]), mask)
    assert len(loaded.getAnnIds(imgIds=[5])) == 1


def test_nothing_found_is_an_empty_list(tmp_path: Path) -> None:
    with write_results(tmp_path, "instance", CATEGORIES):
        pass
    assert json.loads((tmp_path / "instances.json").read_text()) == []
    with write_results(tmp_path, "panoptic", CATEGORIES):
        pass
    assert json.loads((tmp_path / "panoptic.json").read_text()) == {"annotations": []}


def test_panoptic_maps_bear_the_ids_of_their_segments(tmp_path: Path) -> None:
    ids = np.repeat([[0, 1, 2]], SIZE[0], axis=0).repeat([5, 6, 6], axis=1).astype(np.int32)
    segments = [Segment(1, 0, 0.9, 72, True), Segment(2, 2, 0.4, 72, False)]
    with write_results(tmp_path, "panoptic", CATEGORIES) as put:
        put(12, "folder/a.jpg", Panoptic(ids[None], segments))
    (entry,) = json.loads((tmp_path / "panoptic.json").read_text())["annotations"]
    assert entry["image_id"] == 12
    assert entry["segments_info"] == [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 4}]
    assert np.array_equal(read_panoptic_ids(tmp_path / "panoptic" / entry["file_name"]), ids)


def test_semantic_maps_bear_the_ids_of_their_classes(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, -1]], np.int16)
    with write_results(tmp_path, "semantic", CATEGORIES) as put:
        put(1, "a.jpg", SemanticMap(labels[None]))
    assert read_label_map(tmp_path / "labels" / "a.png").tolist() == [[7, 90], [4, 0]]
    with Image.open(tmp_path / "labels" / "a.png") as image:
        assert image.mode == "L"


@pytest.mark.parametrize("task", ["semantic", "panoptic"])
def test_map_of_another_picture_is_not_overwritten(task: Task, tmp_path: Path) -> None:
    flat = np.zeros((1, *SIZE), np.int32)
    result = Panoptic(flat, []) if task == "panoptic" else SemanticMap(flat.astype(np.int16))
    with (
        pytest.raises(ValueError, match=r"b/0\.jpg: another picture's map is called 0\.png too"),
        write_results(tmp_path, task, CATEGORIES) as put,
    ):
        put(1, "a/0.jpg", result)
        put(2, "b/0.jpg", result)
