"""What is written is read back: by our readers, by pycocotools, by filling the polygons."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.path import Path as Outline
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data import CocoInstances, CocoPanoptic, YouTubeVIS
from mask2former.data.yolo import YoloPolygons
from mask2former.saving import CLIP_FORMATS, FORMATS, Record, choose_formats, maps
from mask2former.structures import Instances, Panoptic, Result, SemanticMap

Save = Callable[..., Path]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def without_holes(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(mask)


def fill(rings: list, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in an odd number of rings."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    inside = [Outline(ring).contains_points(centres) for ring in rings]
    return (np.sum(inside, axis=0) % 2 == 1).reshape(size)


def test_coco_is_read_back(
    save: Save, instances: Instances, masks: np.ndarray, categories: Categories, tmp_path: Path
) -> None:
    path = save("coco", instances, "a.png", "sub/b.png") / "coco.json"
    dataset = CocoInstances(tmp_path / "pictures", path)
    assert dataset.categories == categories
    assert len(dataset) == 2
    for index in range(2):
        found = dataset.truth(index).instances or []
        assert [each.label for each in found] == [1, 0, 1]
        assert all(
            np.array_equal(rle.decode(o.rle), m[0]) for o, m in zip(found, masks, strict=True)
        )
    document = json.loads(path.read_text())
    assert [entry["id"] for entry in document["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [entry["id"] for entry in document["images"]] == [1, 2]
    first = document["annotations"][0]
    assert first["iscrowd"] == 0
    assert first["area"] == masks[0].sum()
    assert first["bbox"] == [13, 13, 55, 55]
    assert first["score"] == pytest.approx(0.9)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
@pytest.mark.parametrize("form", ["coco", "coco_polygons"])
def test_pycocotools_reads_coco(
    form: str, save: Save, instances: Instances, masks: np.ndarray
) -> None:
    from pycocotools.coco import COCO

    coco = COCO(str(save(form, instances, "a.png") / f"{form}.json"))
    found = [coco.annToMask(coco.anns[number]).astype(bool) for number in (1, 2, 3)]
    if form == "coco":
        assert np.array_equal(found, masks[:, 0])
    else:
        assert min(iou(f, without_holes(m[0])) for f, m in zip(found, masks, strict=True)) > 0.99


def test_polygons_of_coco_are_the_parts(
    save: Save, instances: Instances, masks: np.ndarray
) -> None:
    document = json.loads(
        (save("coco_polygons", instances, "a.png") / "coco_polygons.json").read_text()
    )
    assert [len(entry["segmentation"]) for entry in document["annotations"]] == [1, 2, 1]
    for entry, mask in zip(document["annotations"], masks[:, 0], strict=True):
        found = rle.decode(rle.from_annotation(entry["segmentation"], *mask.shape))
        assert iou(found, without_holes(mask)) >= 0.99


def test_panoptic_is_read_back(save: Save, panoptic: Panoptic, tmp_path: Path) -> None:
    out = save("panoptic", panoptic, "town/a.jpg")
    truth = CocoPanoptic(tmp_path / "pictures", out / "panoptic.json").truth(0)
    assert truth.panoptic is not None
    assert np.array_equal(truth.panoptic, panoptic.ids[0])
    found = [(s.id, s.label, s.area) for s in truth.segments]
    assert found == [(s.id, s.label, s.area) for s in panoptic.segments]
    [entry] = json.loads((out / "panoptic.json").read_text())["annotations"]
    assert [s["score"] for s in entry["segments_info"]] == [0.9, 0.6, 0.8]


def test_pictures_that_share_a_label_file_are_refused(save: Save, panoptic: Panoptic) -> None:
    with pytest.raises(ValueError, match=r"a\.png: two pictures would share"):
        save("panoptic", panoptic, "a.jpg", "a.png")


def test_labels_are_read_back(
    save: Save, semantic: SemanticMap, categories: Categories, tmp_path: Path
) -> None:
    out = save("labels", semantic, "a.png")
    with Image.open(out / "labels" / "a.png") as image:
        assert np.array_equal(np.asarray(image), semantic.labels[0] % 256)


def test_yolo_is_read_back(
    save: Save, instances: Instances, masks: np.ndarray, tmp_path: Path
) -> None:
    place = save("yolo", instances, "a.png") / "yolo"
    names = yaml.safe_load((place / "data.yaml").read_text())["names"]
    assert names == {0: "cat", 1: "dog", 2: "sky"}
    classes = Categories.from_json([{"id": i, "name": name} for i, name in names.items()])
    truth = YoloPolygons(tmp_path / "pictures", place / "labels", classes).truth(0)
    found = truth.instances or []
    assert [each.label for each in found] == [1, 0, 1]
    for each, mask in zip(found, masks[:, 0], strict=True):
        assert iou(rle.decode(each.rle), without_holes(mask)) >= 0.99


def test_yolo_of_nothing_is_an_empty_file(save: Save, instances: Instances) -> None:
    out = save("yolo", instances.select(np.zeros(3, bool)), "a.png")
    assert (out / "yolo" / "labels" / "a.txt").read_text() == ""


def test_labelme_points_to_its_picture(save: Save, instances: Instances, masks: np.ndarray) -> None:
    place = save("labelme", instances, "sub/a.png") / "labelme" / "sub"
    document = json.loads((place / "a.json").read_text())
    shapes = document["shapes"]
    assert [shape["label"] for shape in shapes] == ["dog", "cat", "cat", "dog"]
    assert [shape["group_id"] for shape in shapes] == [None, 2, 2, None]
    size = document["imageHeight"], document["imageWidth"]
    rings = [[*shape["points"], shape["points"][0]] for shape in shapes]
    assert np.array_equal(fill(rings[1:3], size), masks[1, 0])
    assert np.array_equal(fill(rings[:1], size), without_holes(masks[0, 0]))
    with Image.open(place.parent / document["imagePath"]) as image:
        assert image.size == size[::-1]


def masks_of(document: dict) -> list[np.ndarray]:
    size = document["picture"]["height"], document["picture"]["width"]
    found = []
    for feature in document["features"]:
        parts = feature["geometry"]["coordinates"]
        if feature["geometry"]["type"] == "Polygon":
            parts = [parts]
        found.append(fill([ring for part in parts for ring in part], size))
    return found


@pytest.mark.parametrize("kind", ["instances", "panoptic", "semantic"])
def test_geojson_is_the_masks_with_their_holes(
    kind: str, save: Save, request: pytest.FixtureRequest
) -> None:
    result: Result = request.getfixturevalue(kind)
    path = save("geojson", result, "a.png") / "geojson" / "a.geojson"
    document = json.loads(path.read_text())
    match result:
        case Instances():
            expected, classes = result.masks[:, 0], ["dog", "cat", "dog"]
        case Panoptic():
            expected = np.stack([result.ids[0] == s.id for s in result.segments])
            classes = ["dog", "cat", "sky"]
        case SemanticMap():
            expected = np.stack([result.labels[0] == label for label in range(3)])
            classes = ["cat", "dog", "sky"]
    assert np.array_equal(masks_of(document), expected)
    about = [feature["properties"] for feature in document["features"]]
    assert [each["class"] for each in about] == classes
    assert [each["area"] for each in about] == expected.sum(axis=(1, 2)).tolist()
    assert [each["score"] is None for each in about] == [kind == "semantic"] * 3
    assert "y down" in document["coordinate_system"]


def test_geojson_rings_are_closed_and_turn_as_the_standard_wants(
    save: Save, instances: Instances
) -> None:
    document = json.loads((save("geojson", instances, "a.png") / "geojson/a.geojson").read_text())
    outer, hole = document["features"][0]["geometry"]["coordinates"]
    for ring, sign in ((outer, 1), (hole, -1)):
        assert ring[0] == ring[-1]
        x, y = np.array(ring[:-1]).T
        assert sign * (x @ np.roll(y, -1) - y @ np.roll(x, -1)) > 0


def test_table_has_a_row_an_object(save: Save, instances: Instances, masks: np.ndarray) -> None:
    with (save("csv", instances, "a.png", "b,c.png") / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["id"]) for row in rows] == [
        (name, str(number)) for name in ("a.png", "b,c.png") for number in (1, 2, 3)
    ]
    for row, mask in zip(rows, masks[:, 0], strict=False):
        y, x = np.nonzero(mask)
        assert int(row["area"]) == mask.sum()
        assert float(row["centroid_x"]) == pytest.approx(x.mean() + 0.5, abs=0.01)
        assert float(row["centroid_y"]) == pytest.approx(y.mean() + 0.5, abs=0.01)
        assert (int(row["x"]), int(row["y"])) == (x.min(), y.min())
        assert (int(row["width"]), int(row["height"])) == (np.ptp(x) + 1, np.ptp(y) + 1)


def test_table_of_a_semantic_map_has_no_scores(save: Save, semantic: SemanticMap) -> None:
    with (save("csv", semantic, "a.png") / "objects.csv").open(newline="") as file:
        assert [row["score"] for row in csv.DictReader(file)] == ["", "", ""]


def test_masks_are_numbers_of_16_bits_with_the_best_on_top(
    save: Save, instances: Instances, masks: np.ndarray
) -> None:
    with Image.open(save("masks", instances, "a.png") / "masks" / "a.png") as image:
        assert image.mode == "I;16"
        numbers = np.asarray(image)
    assert np.array_equal(numbers == 1, masks[0, 0])
    assert np.array_equal(numbers == 3, masks[2, 0] & ~masks[0, 0])
    assert np.array_equal(numbers > 0, masks.any(axis=0)[0])


def test_more_objects_than_numbers_are_refused(
    save: Save, instances: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "MOST", 2)
    with pytest.raises(ValueError, match=r"a\.png: a PNG of 16 bits tells 2 objects apart"):
        save("masks", instances, "a.png")


def test_tracks_are_read_back(categories: Categories, tmp_path: Path) -> None:
    names = [[f"first/{t}.png" for t in range(3)], ["second/0.png"]]
    for name in (*names[0], *names[1]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (7, 5)).save(tmp_path / name)
    masks = np.random.default_rng(0).random((2, 3, 5, 7)) > 0.5
    masks[1, 1] = False
    found = Instances.of_masks(masks, np.array([1, 0]), np.array([0.9, 0.4], np.float32))
    nothing = Instances([], np.zeros(0, int), np.zeros(0), (1, 5, 7))
    with CLIP_FORMATS["tracks"].write(tmp_path / "out", categories) as add:
        add(Record(names[0], found))
        add(Record(names[1], nothing))
    path = tmp_path / "out" / "tracks.json"
    again = YouTubeVIS(tmp_path, path)
    assert again.categories == categories
    tracks = again.truth(0).instances or []
    assert [track.label for track in tracks] == [1, 0]
    for track, mask in zip(tracks, masks, strict=True):
        assert np.array_equal(rle.decode(track.rle), rle.side_by_side(mask))
    assert again.truth(1).instances == []
    stored = json.loads(path.read_text())["annotations"]
    assert [entry["score"] for entry in stored] == pytest.approx([0.9, 0.4])
    assert stored[1]["segmentations"][1] is None
    assert [entry["category_id"] for entry in stored] == [9, 7]


@pytest.mark.parametrize("form", FORMATS)
def test_clip_is_no_picture(form: str, categories: Categories, tmp_path: Path) -> None:
    masks = np.ones((1, 2, 4, 4), bool)
    result: Result = Instances.of_masks(masks, np.zeros(1, int), np.ones(1, np.float32))
    if "instance" not in FORMATS[form].tasks:
        result = SemanticMap(np.zeros((2, 4, 4), np.int16))
    if form == "panoptic":
        result = Panoptic(np.zeros((2, 4, 4), np.int32), [])
    with (
        pytest.raises(ValueError, match="single picture"),
        FORMATS[form].write(tmp_path, categories) as add,
    ):
        add(Record(["clip.png"], result))


@pytest.mark.parametrize("form", ["coco", "coco_polygons", "panoptic", "csv", "tracks"])
def test_broken_off_writing_leaves_the_old_file(
    form: str, categories: Categories, tmp_path: Path
) -> None:
    chosen = (FORMATS | CLIP_FORMATS)[form]
    path = tmp_path / chosen.places[0]
    with chosen.write(tmp_path, categories):
        assert not path.exists()
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), chosen.write(tmp_path, categories):
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("form", "task", "why"),
    [
        (
            "yolo",
            "semantic",
            "it holds objects, which --task instance finds; choose overlay, labels",
        ),
        ("labels", "instance", "it holds one class a pixel, which --task semantic finds; choose"),
        ("shapefile", "panoptic", "results; choose overlay, panoptic, labelme, geojson, csv"),
    ],
)
def test_format_that_cannot_hold_a_task_says_why(form: str, task: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"cannot save '{form}' of {task} results; ") as fault:
        choose_formats([form], task, FORMATS)  # pyrefly: ignore[bad-argument-type]
    assert why in str(fault.value)


@pytest.mark.parametrize(
    ("task", "expected"),
    [("instance", "coco"), ("panoptic", "panoptic"), ("semantic", "labels")],
)
def test_default_is_a_drawing_and_the_tasks_own_file(task: str, expected: str) -> None:
    assert choose_formats([], task, FORMATS) == ("overlay", expected)  # pyrefly: ignore[bad-argument-type]


def test_default_of_clips_are_tracks() -> None:
    assert choose_formats([], "instance", CLIP_FORMATS) == ("overlay", "tracks")
    assert choose_formats([], "panoptic", CLIP_FORMATS) == ("overlay",)


def test_real_objects_come_back(shared_data: Path, categories: Categories, tmp_path: Path) -> None:
    """Nuclei as annotators drew them, through every format with polygons, and as run lengths."""
    root = shared_data / "nuclei"
    source = CocoInstances(root / "images" / "val", root / "instances_val.json")
    objects = (source.truth(1).instances or [])[:60]
    masks = np.stack([rle.decode(each.rle) for each in objects])[:, None]
    result = Instances.of_masks(masks, np.zeros(len(masks), int), np.ones(len(masks), np.float32))
    for form in ("coco", "coco_polygons", "yolo", "geojson"):
        with FORMATS[form].write(tmp_path, source.categories) as add:
            add(Record([source.file(1).name], result))
    stem, size = source.file(1).stem, masks.shape[2:]
    filled = [without_holes(mask[0]) for mask in masks]
    large = [mask.sum() >= 200 for mask in filled]
    assert any(large)
    exact = masks_of(json.loads((tmp_path / "geojson" / f"{stem}.geojson").read_text()))
    assert np.array_equal(exact, masks[:, 0])
    names = source.categories.names
    plain = Categories.from_json([{"id": i, "name": name} for i, name in enumerate(names)])
    found = {
        form: CocoInstances(root / "images" / "val", tmp_path / f"{form}.json").truth(0).instances
        for form in ("coco", "coco_polygons")
    }
    yolo = YoloPolygons(source.file(1).parent, tmp_path / "yolo" / "labels", plain)
    place = [yolo.file(index).stem for index in range(len(yolo))].index(stem)
    found["yolo"] = yolo.truth(place).instances
    for form, others in found.items():
        likeness = [
            iou(rle.decode(other.rle), mask if form != "coco" else own[0])
            for other, mask, own in zip(others or [], filled, masks, strict=True)
        ]
        assert min(np.array(likeness)[large]) >= 0.99, form
        assert math.isclose(np.mean(likeness), 1, abs_tol=0.01), form
        assert size == tuple((others or [])[0].rle["size"])
