"""The COCO instance reader on real and on broken files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.data import CocoInstances
from mask2former.data.coco import paint_layers
from mask2former.structures import Sample


def write_set(folder: Path, **changes: object) -> Path:
    """A picture of 8 x 6 pixels with one square; `changes` replace parts of the JSON."""
    Image.new("RGB", (8, 6)).save(folder / "a.png")
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
        "categories": [{"id": 7, "name": "square"}],
        "annotations": [annotation()],
    }
    path = folder / "set.json"
    path.write_text(json.dumps(document | changes))
    return path


def annotation(**changes: object) -> dict:
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    return {"id": 1, "image_id": 1, "category_id": 7, "segmentation": square} | changes


def masks_of(sample: Sample) -> np.ndarray:
    """The masks of ids 1..N, (N, H, W)."""
    ids = sample["ids"].numpy()[:, 0]
    return np.stack([(ids == n + 1).any(0) for n in range(sample["labels"].shape[0])])


def test_sample_holds_every_mask_of_the_annotation(shared_data: Path) -> None:
    root = shared_data / "coco_instances"
    dataset = CocoInstances(root / "images", root / "instances_dev.json")
    overlaps = 0
    for index in range(len(dataset)):
        sample, truth = dataset.sample(index), dataset.truth(index)
        objects = [o for o in truth.instances or [] if not o.is_crowd and rle.area(o.rle)]
        assert sample["labels"].tolist() == [o.label for o in objects]
        if objects:
            assert (masks_of(sample) == np.stack([rle.decode(o.rle) for o in objects])).all()
        overlaps += sample["ids"].shape[0] > 1
        assert sample["ids"].shape[0] <= 4
    assert overlaps > 10


def test_truth_flags_the_crowds_that_samples_leave_out(shared_data: Path) -> None:
    root = shared_data / "coco_instances"
    dataset = CocoInstances(root / "images", root / "instances_dev.json")
    entries = json.loads((root / "instances_dev.json").read_text())["annotations"]
    truths = [o for i in range(len(dataset)) for o in dataset.truth(i).instances or []]
    assert len(truths) == len(entries) == 504
    assert sum(o.is_crowd for o in truths) == 10
    assert sorted(o.area for o in truths) == sorted(e["area"] for e in entries)


def test_nuclei_areas_agree_with_the_json(shared_data: Path) -> None:
    root = shared_data / "nuclei"
    dataset = CocoInstances(root / "images" / "val", root / "instances_val.json")
    for index in range(0, len(dataset), 8):
        sample, truth = dataset.sample(index), dataset.truth(index)
        areas = np.bincount(sample["ids"].numpy().ravel())[1:]
        assert areas.tolist() == [o.area for o in truth.instances or []]
        assert sample["ids"].shape[0] == 1


def test_pictures_without_objects_are_kept(tmp_path: Path) -> None:
    dataset = CocoInstances(tmp_path, write_set(tmp_path, annotations=[]))
    sample = dataset.sample(0)
    assert len(dataset) == 1
    assert sample["ids"].shape == (1, 1, 6, 8)
    assert sample["labels"].shape == (0,)
    assert dataset.truth(0).instances == []


def test_degenerate_polygons_are_no_target(tmp_path: Path) -> None:
    shapes = ([], [[1, 1, 4, 4]], [[2, 2, 2, 2, 2, 2]], annotation()["segmentation"])
    entries = [annotation(id=n, segmentation=shape) for n, shape in enumerate(shapes, start=1)]
    dataset = CocoInstances(tmp_path, write_set(tmp_path, annotations=entries))
    assert dataset.sample(0)["labels"].tolist() == [0]
    assert (dataset.sample(0)["ids"] == 1).sum() == 16


def test_categories_of_a_model_decide_the_labels(tmp_path: Path) -> None:
    names = [{"id": 3, "name": "circle"}, {"id": 7, "name": "square"}]
    path = write_set(tmp_path, categories=names)
    own = CocoInstances(tmp_path, path)
    turned = type(own.categories)(reversed(list(own.categories)))
    other = CocoInstances(tmp_path, path, categories=turned)
    assert own.sample(0)["labels"].tolist() == [1]
    assert other.sample(0)["labels"].tolist() == [0]


def test_layers_are_as_few_as_first_fit_finds() -> None:
    masks = np.zeros((4, 5, 9), bool)
    for mask, (left, right) in zip(masks, [(0, 3), (2, 5), (4, 7), (0, 0)], strict=True):
        mask[1:4, left:right] = True
    layers, kept = paint_layers([rle.encode(mask) for mask in masks], (5, 9))
    assert kept == [0, 1, 2]
    assert layers.shape == (2, 5, 9)
    assert [(layers == n + 1).any(0).tolist() for n in kept] == masks[:3].tolist()


IMAGE = {"id": 1, "file_name": "a.png", "height": 6, "width": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "list of objects under 'images'"),
        ({"images": [{"id": 1}]}, r"an image \(id 1\) has no 'file_name'"),
        ({"images": [IMAGE, IMAGE]}, "image id 1 occurs more than once"),
        ({"images": [IMAGE | {"file_name": "b.png"}]}, r"1 of its files are missing: .*b\.png"),
        ({"categories": []}, "no category"),
        ({"categories": [{"id": 7}]}, r"a category \(id 7\) has no 'name'"),
        ({"annotations": [{"id": 4}]}, r"an annotation \(id 4\) has no 'image_id'"),
        ({"annotations": [annotation(image_id=2)]}, "annotation 1 is of image 2"),
        ({"annotations": [annotation(category_id=8)]}, "annotation 1 .* unknown category 8"),
        ({"annotations": [annotation(), annotation()]}, "annotation id 1 occurs more than once"),
        (
            {"annotations": [annotation(segmentation="x")]},
            "annotation 1: .* neither a list of polygons",
        ),
        (
            {"annotations": [annotation(segmentation=[[1, 2, 3]])]},
            "annotation 1: .* neither a list of polygons",
        ),
        (
            {"annotations": [annotation(segmentation={"size": [2, 2], "counts": [4]})]},
            r"annotation 1: .* needs .* the \"size\" of its picture",
        ),
    ],
)
def test_broken_annotations_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        CocoInstances(tmp_path, write_set(tmp_path, **changes))
    assert "set.json" in str(caught.value)


def test_broken_mask_is_named_at_once(tmp_path: Path) -> None:
    broken = annotation(id=5, segmentation={"size": [6, 8], "counts": [3]})
    with pytest.raises(ValueError, match=r"set\.json: annotation 5: .* broken counts"):
        CocoInstances(tmp_path, write_set(tmp_path, annotations=[broken]))


def test_what_covers_no_pixel_is_left_out_and_noted(tmp_path: Path) -> None:
    outside, line = [[20, 20, 24, 20, 24, 24]], [[2, 2, 2, 2, 2, 2]]
    shapes = (annotation()["segmentation"], outside, line, {"size": [6, 8], "counts": [48]})
    entries = [annotation(id=n, segmentation=shape) for n, shape in enumerate(shapes)]
    path = write_set(tmp_path, annotations=entries)
    dataset = CocoInstances(tmp_path, path)
    assert len(dataset.truth(0).instances or []) == 1
    [note] = dataset.select([0]).notes
    assert note.startswith(f"{path}: 3 of 4 annotations have no area inside their picture")
    assert note.endswith("the first is annotation 1")
    with pytest.raises(ValueError, match="none of its 3 annotations covers a pixel"):
        CocoInstances(tmp_path, write_set(tmp_path, annotations=entries[1:]))


def test_picture_of_another_size_is_named(tmp_path: Path) -> None:
    dataset = CocoInstances(tmp_path, write_set(tmp_path))
    Image.new("RGB", (6, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: the file is 6 x 8 pixels.*says 8 x 6"):
        dataset.sample(0)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_file_that_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "set.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"set\.json"):
        CocoInstances(tmp_path, path)
