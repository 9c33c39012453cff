"""Broken data in every format: each fault is found at its place, and nobody trains on it.

A row breaks a healthy data set. What is a fault must end the real readers with one sentence; what
is left out must be missing from what they give, and nothing else.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from mask2former.config import Config
from mask2former.report.check import check_data, demand_trainable

FORMATS = [
    "coco",
    "coco_panoptic",
    "label_maps",
    "palette",
    "colors",
    "yolo",
    "labelme",
    "cityscapes",
    "voc",
    "youtube_vis",
]
Change = Callable[[Path], object]
NAN = float("nan")
ANNOTATION, IMAGE = "annotations", "images"


class Row(NamedTuple):
    format: str
    change: Change
    file: str  # how the path of the finding's file ends
    where: str
    sentence: str
    severity: str = "fault"
    lost: int = 0  # training targets that are left out


def edit(name: str, change: Callable[[dict], object]) -> Change:
    """Change a JSON file."""

    def do(root: Path) -> None:
        document = json.loads((root / name).read_text())
        change(document)
        (root / name).write_text(json.dumps(document))

    return do


def first(part: str, name: str = "train.json", /, **values: object) -> Change:
    """Change the first entry of a list."""
    return edit(name, lambda document: document[part][0].update(values))


def without(part: str, key: str, name: str = "train.json") -> Change:
    return edit(name, lambda document: document[part][0].pop(key))


def repeat(part: str, name: str = "train.json") -> Change:
    return edit(name, lambda document: document[part].append(dict(document[part][0])))


def polygon(*numbers: float) -> Change:
    return first(ANNOTATION, segmentation=[list(numbers)])


def segment(**values: object) -> Change:
    """Change the first segment of the first picture."""
    name = "panoptic_train.json"
    return edit(name, lambda d: d["annotations"][0]["segments_info"][0].update(values))


def write(name: str, text: str) -> Change:
    return lambda root: (root / name).write_text(text)


def remove(name: str) -> Change:
    return lambda root: (root / name).unlink()


def cut(name: str) -> Change:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:50])


def copy(source: str, target: str) -> Change:
    return lambda root: (root / target).write_bytes((root / source).read_bytes())


def save(name: str, picture: Image.Image) -> Change:
    return lambda root: picture.save(root / name)


def brighten(source: str, target: str) -> Change:
    def do(root: Path) -> None:
        pixels = np.asarray(Image.open(root / source)).astype(int) * 9 // 10 + 5
        Image.fromarray(pixels.astype(np.uint8)).save(root / target)

    return do


A = "images/train/a.png"
SMALL, GREY = Image.new("L", (20, 10)), Image.new("L", (40, 30))
RUNS = {"size": [30, 40], "counts": [600]}
ONE_TOO_FEW = first(ANNOTATION, "videos_train.json", segmentations=[None])

ROWS = {
    # COCO instances
    "no height": Row("coco", without(IMAGE, "height"), "train.json", "image 1", "has no 'height'"),
    "height 0": Row("coco", first(IMAGE, height=0), "train.json", "image 1", "'height' of an"),
    "size as text": Row("coco", first(IMAGE, width="40"), "train.json", "image 1", "is '40', not"),
    "size beyond all": Row("coco", first(IMAGE, width=10**9), "train.json", "image 1", "more than"),
    "list as id": Row("coco", first(IMAGE, id=[1]), "train.json", "image [1]", "is [1], not"),
    "missing picture": Row("coco", remove(A), "train.json", A, "1 of its files are missing"),
    "image twice": Row("coco", repeat(IMAGE), "train.json", "image 1", "occurs more than once"),
    "unknown image": Row(
        "coco", first(ANNOTATION, image_id=9), "train.json", "annotation 11", "is of image 9, which"
    ),
    "unknown category": Row(
        "coco", first(ANNOTATION, category_id=9), "train.json", "annotation 11", "category 9; list"
    ),
    "category as text": Row(
        "coco", first(ANNOTATION, category_id="1"), "train.json", "annotation 11", "is '1', not"
    ),
    "no segmentation": Row(
        "coco", without(ANNOTATION, "segmentation"), "train.json", "annotation 11", "has no 'segme"
    ),
    "no id": Row("coco", without(ANNOTATION, "id"), "train.json", "annotation", "has no 'id'"),
    "annotation twice": Row(
        "coco", repeat(ANNOTATION), "train.json", "annotation 11", "occurs more than once"
    ),
    "NaN": Row("coco", polygon(1, 1, NAN, 5, 9, 9), "train.json", "annotation 11", "nan"),
    "odd count": Row(
        "coco", polygon(1, 1, 5, 5, 9, 9, 1), "train.json", "annotation 11", "neither"
    ),
    "text as coordinate": Row(
        "coco",
        first(ANNOTATION, segmentation=[["1"] * 6]),
        "train.json",
        "annotation 11",
        "neither",
    ),
    "short runs": Row(
        "coco", first(ANNOTATION, segmentation=RUNS), "train.json", "annotation 11", "add up"
    ),
    "runs of another size": Row(
        "coco",
        first(ANNOTATION, segmentation={"size": [40, 30], "counts": [1200]}),
        "train.json",
        "annotation 11",
        'needs "counts" and the "size"',
    ),
    "crowd as text": Row(
        "coco", first(ANNOTATION, iscrowd="0"), "train.json", "annotation 11", "is '0', not 0 or 1"
    ),
    "boxes alone": Row(
        "coco",
        edit("train.json", lambda d: [a.update(segmentation=[]) for a in d["annotations"]]),
        "train.json",
        "annotations",
        "are these boxes or points without masks",
    ),
    "no JSON": Row("coco", write("train.json", "{"), "train.json", "", "not valid JSON"),
    "no categories": Row(
        "coco", edit("train.json", lambda d: d.pop("categories")), "train.json", "", "'categories'"
    ),
    "category id twice": Row(
        "coco", repeat("categories"), "train.json", "", "category ids must be unique, but [1]"
    ),
    "other classes in val": Row(
        "coco",
        first("categories", "val.json", name="ski"),
        "val.json",
        "",
        "the data's classes are ski, road, but the model's are sky, road",
    ),
    "cut picture": Row("coco", cut(A), A, "", "the picture cannot be read"),
    "empty picture": Row("coco", write(A, ""), A, "", "is empty"),
    "text as picture": Row("coco", write(A, "hello"), A, "", "is not a picture"),
    "turned picture": Row("coco", save(A, Image.new("RGB", (30, 40))), A, "", "is 30 x 40 pixels"),
    "copy in val": Row(
        "coco", copy(A, "images/val/c.png"), "val/c.png", "val", "the same pixels as"
    ),
    "like one in val": Row(
        "coco", brighten(A, "images/val/c.png"), "val/c.png", "val", "looks very much", "warning"
    ),
    "copy in train": Row(
        "coco", copy(A, "images/train/b.png"), "b.png", "train", "in the same split", "warning"
    ),
    "outside": Row(
        "coco",
        polygon(50, 2, 60, 2, 60, 9, 50, 9),
        "train.json",
        "annotation 11",
        "has no area inside its picture and is left out",
        "warning",
        lost=1,
    ),
    "a line": Row(
        "coco", polygon(1, 1, 9, 9), "train.json", "annotation 11", "is left out", "warning", 1
    ),
    "between pixels": Row(
        "coco",
        polygon(3.1, 3.1, 3.2, 3.1, 3.2, 3.2),
        "train.json",
        "annotation 11",
        "covers no pixel of its picture and is left out",
        "warning",
        lost=1,
    ),
    "partly outside": Row(
        "coco",
        polygon(-20, 0, 30, 0, 30, 15, -20, 15),
        "train.json",
        "annotation 11",
        "reaches 20 pixels beyond its picture",
        "warning",
    ),
    "another box": Row(
        "coco",
        first(ANNOTATION, bbox=[0, 0, 20, 7]),
        "train.json",
        "annotation 11",
        "has the bbox [0, 0, 20, 7], but its polygons fill [0, 0, 40, 15]",
        "warning",
    ),
    "unlisted picture": Row(
        "coco", copy(A, "images/train/z.png"), "train.json", "images", "for one z.png", "note"
    ),
    # COCO panoptic
    "segment of unknown category": Row(
        "coco_panoptic",
        segment(category_id=9),
        "panoptic_train.json",
        "segment 1 of a.png",
        "is of",
    ),
    "segment 0": Row(
        "coco_panoptic", segment(id=0), "panoptic_train.json", "segment 0 of a.png", "0 is void"
    ),
    "segment of text": Row(
        "coco_panoptic",
        segment(id="1"),
        "panoptic_train.json",
        "segment '1' of a.png",
        "start at 1",
    ),
    "segment without area": Row(
        "coco_panoptic",
        edit("panoptic_train.json", lambda d: d["annotations"][0]["segments_info"][0].pop("area")),
        "panoptic_train.json",
        "segment 1 of a.png",
        "has no 'area'",
    ),
    "unannotated": Row(
        "coco_panoptic",
        edit("panoptic_train.json", lambda d: d["annotations"].pop()),
        "panoptic_train.json",
        "image 2",
        "have no annotation",
    ),
    "map of unknown image": Row(
        "coco_panoptic",
        first(ANNOTATION, "panoptic_train.json", image_id=9),
        "panoptic_train.json",
        "annotation of image 9",
        "is not in 'images'",
    ),
    "missing map": Row(
        "coco_panoptic",
        remove("panoptic_train/a.png"),
        "panoptic_train.json",
        "panoptic_train/a.png",
        "1 of its files are missing",
    ),
    "undescribed segment": Row(
        "coco_panoptic", segment(id=5), A, "", "panoptic_train/a.png: segment 1 is not described"
    ),
    "map of another size": Row(
        "coco_panoptic",
        save("panoptic_train/a.png", SMALL.convert("RGB")),
        A,
        "",
        "panoptic_train/a.png: the file is 20 x 10",
    ),
    "grey ids": Row("coco_panoptic", save("panoptic_train/a.png", GREY), A, "", "but this is L"),
    "segment without pixels": Row(
        "coco_panoptic",
        save("panoptic_train/a.png", Image.new("RGB", (40, 30), (1, 0, 0))),
        "panoptic_train.json",
        "segment 2 of a.png",
        "has no pixel and is left out",
        "warning",
        lost=1,
    ),
    "another area": Row(
        "coco_panoptic",
        segment(area=100),
        "panoptic_train.json",
        "segment 1 of a.png",
        "has 600 pixels, but its area is said to be 100",
        "warning",
    ),
    # label maps
    "value of no class": Row(
        "label_maps",
        save("maps/train/a.png", Image.new("L", (40, 30), 7)),
        A,
        "",
        "maps/train/a.png: the value 7 is neither a category nor ignored",
    ),
    "palette value of no class": Row(
        "palette",
        save("palette/train/a.png", Image.new("L", (40, 30), 3).convert("P")),
        A,
        "",
        "palette/train/a.png: the value 3 is neither",
    ),
    "colour of no class": Row(
        "colors",
        save("colors/train/a.png", Image.new("RGB", (40, 30), (1, 2, 3))),
        A,
        "",
        "colors/train/a.png: the colour [1, 2, 3] is of no class",
    ),
    "picture without map": Row(
        "label_maps", remove("maps/train/a.png"), A, "", "no label map for 1 pictures"
    ),
    "map without picture": Row(
        "label_maps",
        copy("maps/train/a.png", "maps/train/z.png"),
        "maps/train/z.png",
        "",
        "no picture has its name",
        "warning",
    ),
    "label map of another size": Row(
        "label_maps", save("maps/train/a.png", SMALL), A, "", "are not of one size"
    ),
    "colours for values": Row(
        "label_maps", save("maps/train/a.png", Image.new("RGB", (40, 30))), A, "", "but this is RGB"
    ),
    "cut map": Row("label_maps", cut("maps/train/a.png"), A, "", "cannot be read"),
    "only ignored": Row(
        "label_maps",
        lambda root: [
            save(f"maps/train/{n}.png", Image.new("L", (40, 30), 255))(root) for n in "ab"
        ],
        "",
        "train",
        "no training picture shows an object of any class",
    ),
    # YOLO
    "class beyond names": Row(
        "yolo", write("yolo/train/a.txt", "7 0 0 1 0 1 1"), "a.txt", "line 1", "class 7 has no name"
    ),
    "box": Row("yolo", write("yolo/train/a.txt", "0 .5 .5 1 1"), "a.txt", "line 1", "has no mask"),
    "odd line": Row(
        "yolo", write("yolo/train/a.txt", "0 0 0 1 0 1 1 0"), "a.txt", "line 1", "are no polygon"
    ),
    "pixels for shares": Row(
        "yolo", write("yolo/train/a.txt", "0 0 0 40 0 40 30"), "a.txt", "line 1", "no share of a"
    ),
    "NaN share": Row(
        "yolo", write("yolo/train/a.txt", "0 0 0 nan 0 1 1"), "a.txt", "line 1", "no share of a"
    ),
    "words": Row(
        "yolo", write("yolo/train/a.txt", "\ncat x"), "a.txt", "line 2", "no class number"
    ),
    "line without area": Row(
        "yolo",
        write("yolo/train/a.txt", "0 0 0 1 0 1 1\n1 0.501 0.501 0.502 0.501 0.502 0.502"),
        "a.txt",
        "line 2",
        "covers no pixel of its picture and is left out",
        "warning",
        lost=1,
    ),
    "labels without picture": Row(
        "yolo", write("yolo/train/z.txt", ""), "z.txt", "", "no picture has its name", "warning"
    ),
    # labelme
    "half a drawing": Row("labelme", cut("labelme/train/a.json"), "a.json", "", "not valid JSON"),
    "strange shape": Row(
        "labelme",
        first("shapes", "labelme/train/a.json", shape_type="spline"),
        "a.json",
        "shape 1",
        "the shape type 'spline' is unknown",
    ),
    "label of no class": Row(
        "labelme",
        first("shapes", "labelme/train/a.json", label="roa"),
        "a.json",
        "'roa'",
        "did you mean 'road'",
    ),
    "drawing of no picture": Row(
        "labelme",
        lambda root: (
            (root / "labelme/train/a.json").rename(root / "labelme/train/z.json")
            and edit("labelme/train/z.json", lambda d: d.update(imagePath="z.jpg"))(root)
        ),
        "z.json",
        "",
        "its picture 'z.jpg' is neither there nor in",
    ),
    "drawing of another size": Row(
        "labelme",
        edit("labelme/train/a.json", lambda document: document.update(imageWidth=50)),
        "a.png",
        "",
        "the file is 40 x 30 pixels, but",
    ),
    "drawn line": Row(
        "labelme",
        first("shapes", "labelme/train/a.json", shape_type="line"),
        "a.json",
        "shape 1",
        "is a line without area and is left out",
        "warning",
        lost=1,
    ),
    "shape outside": Row(
        "labelme",
        first("shapes", "labelme/train/a.json", points=[[90, 90], [99, 90], [99, 99]]),
        "a.json",
        "sky",
        "covers no pixel of its picture and is left out",
        "warning",
        lost=1,
    ),
    # Cityscapes and Pascal VOC
    "city without map": Row(
        "cityscapes",
        remove("gtFine/train/x/a_gtFine_instanceIds.png"),
        "a_leftImg8bit.png",
        "",
        "no label map for 1 pictures",
    ),
    "city map of another size": Row(
        "cityscapes",
        save("gtFine/train/x/a_gtFine_instanceIds.png", SMALL),
        "a_leftImg8bit.png",
        "",
        "are not of one size",
    ),
    "objects of another size": Row(
        "voc", save("SegmentationObject/train/a.png", SMALL), A, "", "but the map of classes has"
    ),
    "objects of no class": Row(
        "voc",
        save("SegmentationClass/train/a.png", Image.new("L", (40, 30), 9)),
        A,
        "",
        "the value 9 is neither",
    ),
    "no map of objects": Row(
        "voc", remove("SegmentationObject/train/a.png"), "", "", "no map of objects for 1 pictures"
    ),
    # YouTube-VIS
    "too few masks": Row(
        "youtube_vis", ONE_TOO_FEW, "videos_train.json", "annotation 11", "has 1 segmentations, but"
    ),
    "missing frame": Row(
        "youtube_vis",
        remove("frames/train/a/1.png"),
        "videos_train.json",
        "frames/train/a/1.png",
        "1 of its files are missing",
    ),
    "unknown video": Row(
        "youtube_vis",
        first(ANNOTATION, "videos_train.json", video_id=9),
        "videos_train.json",
        "annotation 11",
        "is of video 9, which 'videos' does not list",
    ),
    "no frames": Row(
        "youtube_vis",
        first("videos", "videos_train.json", file_names=[]),
        "videos_train.json",
        "video 1",
        "has no frame",
    ),
    "video twice": Row(
        "youtube_vis",
        repeat("videos", "videos_train.json"),
        "videos_train.json",
        "video 1",
        "occurs more than once",
    ),
    "frame of another size": Row(
        "youtube_vis",
        save("frames/train/a/1.png", SMALL),
        "frames/train/a",
        "",
        "1.png: the file is 20 x 10 pixels",
    ),
    "never seen": Row(
        "youtube_vis",
        first(ANNOTATION, "videos_train.json", segmentations=[None, None]),
        "videos_train.json",
        "annotation 11",
        "is seen in no frame and is left out",
        "warning",
        lost=1,
    ),
}


def read_all(config: Config) -> int:
    """What training would do with the data, without a network: the number of targets."""
    count = 0
    for dataset in demand_trainable(config.data, config.test.task):
        for index in range(len(dataset)):
            if dataset.varies:  # a sample draws some frames; the truth has all
                dataset.image(index)
                found = dataset.truth(index).instances or []
                count += sum("counts" in one.rle and one.area > 0 for one in found)
            else:
                count += len(dataset.sample(index)["labels"])
    return count


@pytest.mark.parametrize("name", FORMATS)
def test_healthy_data_has_no_fault_and_no_warning(name: str, made) -> None:
    checkup = check_data(made.config(name))
    assert [finding for finding in checkup.findings if finding.severity != "note"] == []
    assert checkup.is_sound
    assert {split: tally.pictures for split, tally in checkup.tallies.items()} == {
        "train": 2,
        "val": 1,
    }
    assert sorted(checkup.tallies["train"].objects.values()) == [2, 2]
    assert read_all(made.config(name)) == 6


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_is_wrong_is_found_with_its_file_and_place(row: Row, made) -> None:
    row.change(made.root)
    findings = list(check_data(made.config(row.format)).findings)
    alike = [
        finding
        for finding in findings
        if finding.severity == row.severity and row.sentence in finding.sentence
    ]
    assert alike, findings
    assert any(f.file.endswith(row.file) and f.where.endswith(row.where) for f in alike), alike
    assert all("\n" not in finding.sentence for finding in findings)
    worse = [f for f in findings if f.severity == "fault" and f not in alike]
    two_faults = {"list as id", "map of unknown image"}  # what they belong to is unknown
    assert worse == [] or row in [ROWS[name] for name in two_faults], "one mistake, one fault"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_training_refuses_faults_and_leaves_out_what_is_said(row: Row, made) -> None:
    row.change(made.root)
    config = made.config(row.format)
    of_the_set = {"copy in val", "only ignored"}  # no reader minds; the check compares pictures
    if row.severity != "fault" or row in [ROWS[name] for name in of_the_set]:
        before = 2 if row is ROWS["only ignored"] else 6
        assert read_all(config) == before - row.lost
        return
    with pytest.raises(ValueError, match=r"\S") as fault:
        read_all(config)
    assert "\n" not in str(fault.value)
    assert row.sentence in str(fault.value)


def test_all_faults_of_a_file_are_told_at_once(made) -> None:
    def spoil(document: dict) -> None:
        for number, entry in enumerate(document["annotations"]):
            entry.update(category_id=50 + number)
        document["images"][1]["height"] = -1

    edit("train.json", spoil)(made.root)
    cut("images/val/c.png")(made.root)
    checkup = check_data(made.config("coco"))
    places = {finding.where for finding in checkup.findings if finding.severity == "fault"}
    assert places >= {"annotation 11", "annotation 12", "image 2", ""}
    with pytest.raises(ValueError, match="there are 2 more faults, and `mask2former check-data`"):
        demand_trainable(made.config("coco").data, "instance")


@pytest.mark.parametrize("ways", ["the list", "the maps"])
def test_maps_of_one_class_are_told(ways: str, made) -> None:
    changes = (
        {"background": "void", "classes": ["background", "road"]} if ways == "the list" else {}
    )
    if ways == "the maps":
        for file in (made.root / "maps").rglob("*.png"):
            Image.fromarray(np.ones((30, 40), np.uint8)).save(file)
    found = check_data(made.config("label_maps", **changes)).findings
    told = [f.sentence for f in found if f.severity == "warning"]
    assert len(told) == 1
    assert told[0].startswith("'road' is the only class in the training pictures")
    assert told[0].endswith("or make the other pixels a class by data.background=class")
    instances = check_data(made.config("yolo", classes=["sky", "road"])).findings
    assert not any("is the only class" in finding.sentence for finding in instances)
