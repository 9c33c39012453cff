"""Results: shapes people expect, filters, exports that decode to the masks, pictures."""

import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories
from mask2former.results import InstanceResult, PanopticResult, SemanticResult, wrap
from mask2former.structures import Instances, Panoptic, Segment, SemanticMap

CATEGORIES = Categories.from_json(
    [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}, {"id": 4, "name": "sky", "isthing": 0}]
)
HEIGHT, WIDTH = 12, 17
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
MASKS = np.random.default_rng(1).random((3, 1, HEIGHT, WIDTH)) > 0.5
IDS = np.repeat([[0, 1, 2]], HEIGHT, axis=0).repeat([5, 6, 6], axis=1).astype(np.int32)


@pytest.fixture
def found() -> InstanceResult:
    scores = np.array([0.9, 0.6, 0.3], np.float32)
    plain = Instances.of_masks(MASKS, np.array([1, 0, 1]), scores)
    result = wrap(IMAGE, "a.png", CATEGORIES, plain)
    assert isinstance(result, InstanceResult)
    return result


@pytest.fixture
def panoptic() -> PanopticResult:
    segments = [Segment(1, 0, 0.9, 72, True), Segment(2, 2, 0.4, 72, False)]
    result = wrap(IMAGE, "a.png", CATEGORIES, Panoptic(IDS[None], segments))
    assert isinstance(result, PanopticResult)
    return result


@pytest.fixture
def semantic() -> SemanticResult:
    result = wrap(IMAGE, "a.png", CATEGORIES, SemanticMap(IDS[None].astype(np.int16)))
    assert isinstance(result, SemanticResult)
    return result


def test_instances_are_squeezed_to_pictures(found: InstanceResult) -> None:
    assert found.masks.shape == (3, HEIGHT, WIDTH)
    assert found.masks.dtype == bool
    np.testing.assert_array_equal(found.labels, [1, 0, 1])
    assert len(found) == 3


def test_clips_keep_their_frames() -> None:
    for frames in (4, 1):
        masks = np.zeros((2, frames, 4, 4), bool)
        plain = Instances.of_masks(masks, np.zeros(2, int), np.ones(2))
        result = wrap(np.zeros((frames, 4, 4, 3), np.uint8), "clip", CATEGORIES, plain)
        assert isinstance(result, InstanceResult)
        assert result.masks.shape == (2, frames, 4, 4)
        assert result.boxes.tolist() == [[0, 0, 0, 0]] * 2
        assert result._repr_png_() is None


def test_instances_have_boxes_areas_and_names(found: InstanceResult) -> None:
    assert found.names == ["dog", "cat", "dog"]
    assert found.areas.tolist() == MASKS.sum((1, 2, 3)).tolist()
    for mask, box in zip(found.masks, found.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [
            columns.min(),
            rows.min(),
            columns.max() + 1,
            rows.max() + 1,
        ]
    empty = found.filter(score=1.0)
    assert empty.boxes.shape == (0, 4)
    assert empty.areas.shape == (0,)


def test_results_show_themselves(found: InstanceResult, semantic: SemanticResult) -> None:
    assert repr(found) == "<InstanceResult a.png, 12 x 17: 2 dog, 1 cat>"
    assert repr(semantic).startswith("<SemanticResult a.png, 12 x 17: dog ")
    shown = found._repr_png_()
    assert shown is not None
    picture = Image.open(BytesIO(shown))
    assert np.array_equal(np.asarray(picture), np.asarray(found.draw()))


def test_filter_keeps_scores_from_the_threshold_on(found: InstanceResult) -> None:
    kept = found.filter(score=0.6)
    np.testing.assert_allclose(kept.scores, [0.9, 0.6])
    np.testing.assert_array_equal(kept.masks, found.masks[:2])
    assert len(found) == 3
    assert len(found.filter()) == 3


def test_instances_decode_from_coco(found: InstanceResult) -> None:
    records = found.to_coco(image_id=5)
    assert [record["category_id"] for record in records] == [9, 7, 9]
    for record, mask in zip(records, found.masks, strict=True):
        assert record["image_id"] == 5
        assert "bbox" not in record
        np.testing.assert_array_equal(rle.decode(record["segmentation"]), mask)


def test_segments_decode_from_coco(panoptic: PanopticResult) -> None:
    records = panoptic.to_coco()
    assert [record["category_id"] for record in records] == [7, 4]
    np.testing.assert_array_equal(rle.decode(records[1]["segmentation"]), IDS == 2)


def test_semantic_classes_decode_from_coco(semantic: SemanticResult) -> None:
    assert semantic.labels.shape == (HEIGHT, WIDTH)
    records = semantic.to_coco()
    assert [record["category_id"] for record in records] == [7, 9, 4]
    np.testing.assert_array_equal(rle.decode(records[1]["segmentation"]), IDS == 1)


def test_panoptic_filter_voids_the_pixels(panoptic: PanopticResult) -> None:
    kept = panoptic.filter(score=0.5)
    assert [segment.id for segment in kept.segments] == [1]
    np.testing.assert_array_equal(kept.ids, np.where(IDS == 1, 1, 0))
    assert kept.ids.dtype == np.int32
    assert panoptic.ids.max() == 2


def test_summaries_count_and_measure(
    found: InstanceResult, panoptic: PanopticResult, semantic: SemanticResult
) -> None:
    assert found.summary() == "2 dog, 1 cat"
    assert found.count() == {"dog": 2, "cat": 1}
    assert found.filter(score=1.0).summary() == "nothing found"
    assert panoptic.summary() == "1 cat, 1 sky"
    assert semantic.summary() == "dog 35%, sky 35%, cat 29%"


def test_long_summary_is_cut() -> None:
    many = Categories.from_json([{"id": i, "name": f"c{i}"} for i in range(9)])
    masks = np.zeros((9, 1, 4, 4), bool)
    plain = Instances.of_masks(masks, np.arange(9), np.ones(9, np.float32))
    summary = wrap(np.zeros((4, 4, 3), np.uint8), "a", many, plain).summary()
    assert summary == "1 c0, 1 c1, 1 c2, 1 c3, 1 c4, 1 c5, +3 more"


@pytest.mark.parametrize("kind", ["found", "panoptic", "semantic"])
def test_save_writes_a_picture_into_a_new_folder(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind).save(tmp_path / "new" / "out.png")
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 0


def test_label_map_is_saved_bare(tmp_path: Path, semantic: SemanticResult) -> None:
    path = semantic.save(tmp_path / "new" / "a.labels.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), IDS)


def test_unknown_ending_is_refused(tmp_path: Path, found: InstanceResult) -> None:
    with pytest.raises(ValueError, match="unknown file extension"):
        found.save(tmp_path / "out.pictur")


def test_geojson_labelme_and_yolo_speak_of_the_same_regions(found: InstanceResult) -> None:
    features = found.to_geojson()["features"]
    assert [each["properties"]["class"] for each in features] == ["dog", "cat", "dog"]
    assert [each["properties"]["area"] for each in features] == MASKS.sum(axis=(1, 2, 3)).tolist()
    labelme = found.to_labelme()
    assert labelme["imagePath"] == "a.png"
    assert {shape["label"] for shape in labelme["shapes"]} == {"dog", "cat"}
    assert [line.split()[0] for line in found.to_yolo().splitlines()] == ["1", "0", "1"]


def test_missing_supervision_is_one_sentence(
    found: InstanceResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ValueError, match="needs the package supervision; `pip install"):
        found.to_supervision()


@pytest.mark.parametrize("kind", ["found", "panoptic", "semantic"])
def test_supervision_is_handed_what_it_takes(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in takes the arguments of `supervision.Detections`."""
    result = request.getfixturevalue(kind)
    stand_in = SimpleNamespace(Detections=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "supervision", stand_in)  # pyrefly: ignore[bad-argument-type]
    given = result.to_supervision()
    number = len(given.class_id)
    assert number == {"found": 3, "panoptic": 2, "semantic": 3}[kind]
    assert given.mask.shape == (number, HEIGHT, WIDTH)
    assert given.mask.dtype == bool
    assert given.xyxy.shape == (number, 4)
    for mask, (left, top, right, bottom) in zip(given.mask, given.xyxy, strict=True):
        rows, columns = np.nonzero(mask)
        assert (left, top) == (columns.min(), rows.min())
        assert (right, bottom) == (columns.max() + 1, rows.max() + 1)
    names = [CATEGORIES.names[label] for label in given.class_id]
    assert given.data["class_name"].tolist() == names
    if kind == "semantic":
        assert given.confidence is None
    else:
        assert given.confidence.shape == (number,)
