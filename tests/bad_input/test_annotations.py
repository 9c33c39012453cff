"""Broken annotations: `train` and `evaluate` refuse before the first step, and name what is wrong.

What only a look at the pixels can find is named when it is read, also in a worker process.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

NAMES = ["circle", "square", "triangle"]
CATEGORIES = [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)]
IMAGE = {"id": 1, "file_name": "a.png", "height": 30, "width": 40}
OTHER = IMAGE | {"id": 2, "file_name": "b.png"}
POLYGON = [[2, 2, 20, 2, 20, 20, 2, 20]]
RUNS = {"size": [30, 40], "counts": [600, 600]}
SEGMENT = {"id": 1, "category_id": 1, "area": 600, "iscrowd": 0}

Change = Callable[[dict[str, Any]], object]


def entry(**changes: object) -> dict:
    return {"id": 7, "image_id": 1, "category_id": 1, "segmentation": POLYGON, **changes}


def coco() -> dict[str, Any]:
    """A COCO file that fits."""
    return {
        "images": [dict(IMAGE), dict(OTHER)],
        "categories": [dict(category) for category in CATEGORIES],
        "annotations": [entry(), entry(id=8, image_id=2, segmentation=RUNS)],
    }


def panoptic() -> dict[str, Any]:
    """A COCO panoptic file that fits."""
    return {
        "images": [dict(IMAGE), dict(OTHER)],
        "categories": [category | {"isthing": 1} for category in CATEGORIES],
        "annotations": [
            {"image_id": n, "file_name": file, "segments_info": [dict(SEGMENT)]}
            for n, file in ((1, "a.png"), (2, "b.png"))
        ],
    }


def write_pictures(root: Path) -> None:
    """Two pictures, and for each a panoptic PNG and a label map that fit."""
    ids = np.zeros((30, 40, 3), np.uint8)
    ids[:15, :, 0] = 1
    for folder in ("images", "panoptic", "labels"):
        (root / folder).mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(ids * 200).save(root / "images" / name)
        Image.fromarray(ids).save(root / "panoptic" / name)
        Image.fromarray(ids[..., 0]).save(root / "labels" / name)
    classes = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    (root / "classes.json").write_text(json.dumps({"classes": classes}))


class Data:
    """A data set of one format in a folder, for `train` and `evaluate`."""

    def __init__(self, root: Path, command: Callable, model: Path, settings: dict) -> None:
        self.root, self._command, self._model = root, command, model
        self._settings = settings
        write_pictures(root)
        self.write(coco(), "coco.json")
        self.write(panoptic(), "panoptic.json")

    def write(self, document: object, name: str) -> Path:
        (self.root / name).write_text(json.dumps(document))
        return self.root / name

    def run(self, kind: str, name: str, *more: str) -> Any:
        """`train` or `evaluate`, with a format of the data."""
        annotations = {"coco": "coco.json", "coco_panoptic": "panoptic.json"}.get(name, "labels")
        split = {"images": "images", "annotations": annotations}
        task = {"coco": "instance", "coco_panoptic": "panoptic"}.get(name, "semantic")
        data = {"format": name, "root": str(self.root), "train": split, "val": split}
        data |= {"classes": "classes.json"} if name == "label_maps" else {}
        if kind == "train":
            tree = {**self._settings, "data": self._settings["data"] | data}
            tree["test"] = tree["test"] | {"task": task}
            recipe = self.root / "mine.yaml"
            recipe.write_text(yaml.safe_dump(tree))
            output = self.root / "run"
            return self._command("train", recipe, *more, "--output", output, "--device", "cpu")
        words = [f"data.{key}={json.dumps(value)}" for key, value in data.items()]
        return self._command("evaluate", self._model, *words, *more, "--task", task)


@pytest.fixture
def data(tmp_path: Path, command: Callable, model: Path, settings: dict) -> Data:
    return Data(tmp_path, command, model, settings)


@pytest.fixture(params=["train", "evaluate"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def annotation(**changes: object) -> Change:
    """Changes the first annotation."""
    return lambda document: document["annotations"][0].update(changes)


def image(**changes: object) -> Change:
    return lambda document: document["images"][0].update(changes)


def without(part: str, key: str) -> Change:
    return lambda document: document[part][0].pop(key)


def repeat(part: str) -> Change:
    return lambda document: document[part].append(dict(document[part][0]))


NAN = float("nan")
COCO: dict[str, tuple[Change, str]] = {
    "of another kind": (lambda d: d.pop("images"), "no list of objects under 'images'; is it a"),
    "no categories": (lambda d: d.pop("categories"), "no list of objects under 'categories'"),
    "empty categories": (lambda d: d["categories"].clear(), "names no category"),
    "annotations as an object": (lambda d: d.update(annotations={}), "under 'annotations'"),
    "no segmentation": (without("annotations", "segmentation"), "(id 7) has no 'segmentation'"),
    "no image id": (without("annotations", "image_id"), "an annotation (id 7) has no 'image_id'"),
    "no height": (without("images", "height"), "an image (id 1) has no 'height'"),
    "height of 0": (image(height=0), "'height' of an image (id 1) is 0, not a whole number"),
    "height as text": (image(height="30"), "'height' of an image (id 1) is '30', not"),
    "a size beyond all": (image(height=10**9), "image 1 is said to be 40 x 1000000000 pixels"),
    "image id as a list": (image(id=[1]), "'id' of an image (id [1]) is [1], not"),
    "a missing picture": (image(file_name="gone.png"), "1 of its files are missing: "),
    "an unknown image": (annotation(image_id=3), "annotation 7 is of image 3, which 'images' does"),
    "an unknown category": (annotation(category_id=9), "annotation 7 is of the unknown category 9"),
    "category 0": (annotation(category_id=0), "annotation 7 is of the unknown category 0"),
    "a category as text": (annotation(category_id="1"), "is '1', not a whole number"),
    "an image twice": (repeat("images"), "image id 1 occurs more than once"),
    "an annotation twice": (repeat("annotations"), "annotation id 7 occurs more than once; number"),
    "a category twice": (repeat("categories"), "category ids must be unique, but [1] occur"),
    "crowd as text": (annotation(iscrowd="0"), "'iscrowd' of an annotation (id 7) is '0', not 0"),
    "NaN area": (annotation(area=NAN), "'area' of an annotation (id 7) is nan, not"),
    "NaN coordinate": (
        annotation(segmentation=[[1, 1, NAN, 5, 9, 9]]),
        "annotation 7: segmentatio",
    ),
    "infinite": (annotation(segmentation=[[1, 1, float("inf"), 5, 9, 9]]), "annotation 7: segment"),
    "odd coordinates": (annotation(segmentation=[[1, 1, 5, 5, 9, 9, 1]]), "annotation 7: segmenta"),
    "runs of another size": (
        annotation(segmentation={"size": [40, 30], "counts": [1200]}),
        """needs "counts" and the "size" of its picture, [30, 40]""",
    ),
    "runs that are too few": (
        annotation(segmentation={"size": [30, 40], "counts": [600]}),
        "annotation 7: segmentation {'size': [30, 40], 'counts': [600]} has broken counts: they do",
    ),
    "boxes alone": (
        lambda d: [a.update(segmentation=[]) for a in d["annotations"]],
        "none of its 2 annotations covers a pixel of its picture; are these boxes or points",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), COCO.values(), ids=COCO)
def test_coco_fault_is_named_before_the_first_step(
    change: Change, sentence: str, kind: str, data: Data
) -> None:
    document = coco()
    change(document)
    path = data.write(document, "coco.json")
    said = data.run(kind, "coco")
    assert said.status == 2
    assert said.complaint.startswith(f"{path}: ")
    assert sentence in said.complaint
    assert "step" not in said.out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not valid JSON ("),
        ('{"images": [', "not valid JSON ("),
        ("\xff\xfe", "not valid JSON ("),
        ("[" * 100_000, "not valid JSON ("),
        ("[]", "expected a JSON object, found a list"),
        ("null", "expected a JSON object, found a NoneType"),
    ],
)
def test_file_that_is_no_json_object_is_named(
    text: str, sentence: str, kind: str, data: Data
) -> None:
    (data.root / "coco.json").write_text(text, encoding="latin-1")
    said = data.run(kind, "coco")
    assert said.status == 2
    assert said.complaint.startswith(f"{data.root / 'coco.json'}: {sentence}")


def test_missing_file_is_named(kind: str, data: Data) -> None:
    (data.root / "coco.json").unlink()
    said = data.run(kind, "coco")
    assert said.status == 2
    assert f"{data.root / 'coco.json'}: cannot be read (No such file" in said.complaint


def ids_from_zero(document: dict) -> None:
    for part in ("images", "annotations", "categories"):
        for number, one in enumerate(document[part]):
            one["id"] = number
    for number, one in enumerate(document["annotations"]):
        one.update(image_id=number, category_id=number)


def ids_of_text(document: dict) -> None:
    for one in document["images"]:
        one["id"] = f"picture {one['id']}"
    for one in document["annotations"]:
        one["image_id"] = f"picture {one['image_id']}"


ABOVE = [[2, -30, 20, -30, 20, -2, 2, -2]]
BESIDE = [[41, 2, 60, 2, 60, 9, 41, 9]]
EMPTY = "1 of 3 annotations have no area inside their picture and are left out, the first is annota"
WORKS: dict[str, tuple[Change, str]] = {
    "as it is": (lambda _: None, ""),
    "ids from 0": (ids_from_zero, ""),
    "ids of text": (ids_of_text, ""),
    "no object": (lambda d: d["annotations"].clear(), ""),
    "a picture without objects": (lambda d: d["annotations"].pop(), ""),
    "nothing but crowds": (lambda d: [a.update(iscrowd=1) for a in d["annotations"]], ""),
    "beyond the edge": (annotation(segmentation=[[-9, -9, 99, -9, 99, 99, -9, 99]]), ""),
    "a line": (lambda d: d["annotations"].append(entry(segmentation=[[1, 1, 9, 9]])), EMPTY),
    "zero area": (lambda d: d["annotations"].append(entry(segmentation=[[3, 3] * 3])), EMPTY),
    "no runs": (
        lambda d: d["annotations"].append(entry(segmentation={"size": [30, 40], "counts": [1200]})),
        EMPTY,
    ),
    "above": (lambda d: d["annotations"].append(entry(segmentation=ABOVE)), EMPTY),
    "beside": (lambda d: d["annotations"].append(entry(segmentation=BESIDE)), EMPTY),
}


@pytest.mark.parametrize(("change", "note"), WORKS.values(), ids=WORKS)
def test_unusual_but_right_annotations_are_taken(
    change: Change, note: str, kind: str, data: Data
) -> None:
    document = coco()
    change(document)
    for one in document["annotations"][2:]:
        one["id"] = 9
    data.write(document, "coco.json")
    said = data.run(kind, "coco")
    assert (said.status, said.err) == (0, "")
    assert note in said.out


def segment(**changes: object) -> Change:
    """Changes the first segment of the first picture."""
    return lambda document: document["annotations"][0]["segments_info"][0].update(changes)


PANOPTIC: dict[str, tuple[Change, str]] = {
    "an instance file": (lambda d: d.update(coco()), "an annotation (id 7) has no 'file_name'"),
    "no segments": (without("annotations", "segments_info"), "has no 'segments_info'"),
    "an unannotated picture": (
        lambda d: d["annotations"].pop(),
        "1 images have no annotation, for",
    ),
    "an unknown image": (
        annotation(image_id=5),
        "image 5 has an annotation but is not in 'images'",
    ),
    "a picture twice": (repeat("annotations"), "annotation of image id 1 occurs more than once"),
    "an unknown category": (
        segment(category_id=9),
        "segment 1 of a.png is of the unknown category",
    ),
    "id 0": (segment(id=0), "segment 0 of a.png: ids start at 1, since 0 is void"),
    "an id beyond 24 bits": (segment(id=2**24), "segment 16777216 of a.png: ids start at 1"),
    "an id of text": (segment(id="1"), "segment 1 of a.png: ids start at 1"),
    "thing or not": (lambda d: d["categories"][0].update(isthing="0"), "isthing is '0', not 0 or"),
    "a missing PNG": (annotation(file_name="gone.png"), "1 of its files are missing: "),
}


@pytest.mark.parametrize(("change", "sentence"), PANOPTIC.values(), ids=PANOPTIC)
def test_panoptic_fault_is_named_before_the_first_step(
    change: Change, sentence: str, kind: str, data: Data
) -> None:
    document = panoptic()
    change(document)
    path = data.write(document, "panoptic.json")
    said = data.run(kind, "coco_panoptic")
    assert said.status == 2
    assert said.complaint.startswith(f"{path}: ")
    assert sentence in said.complaint
    assert "step" not in said.out


def save(name: str, picture: Image.Image) -> Callable[[Path], None]:
    return lambda root: picture.save(root / name)


def cut(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:60])


IDS = np.zeros((30, 40, 3), np.uint8)
PIXELS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a cut picture": ("coco", cut("images/a.png"), "images/a.png: the picture cannot be read"),
    "a turned picture": (
        "coco",
        save("images/a.png", Image.new("RGB", (30, 40))),
        "images/a.png: the file is 30 x 40 pixels, but ",
    ),
    "a PNG of another size": (
        "coco_panoptic",
        save("panoptic/a.png", Image.new("RGB", (20, 15))),
        "panoptic/a.png: the file is 20 x 15 pixels, but ",
    ),
    "an undescribed segment": (
        "coco_panoptic",
        save("panoptic/a.png", Image.fromarray(IDS + 5)),
        "panoptic/a.png: segment 328965 is not described in ",
    ),
    "grey ids": (
        "coco_panoptic",
        save("panoptic/a.png", Image.fromarray(IDS[..., 0])),
        "panoptic/a.png: ids are stored as RGB colours, but this is L",
    ),
    "a label beyond the classes": (
        "label_maps",
        save("labels/a.png", Image.fromarray(IDS[..., 0] + 9)),
        "labels/a.png: the value 9 is neither a category nor ignored",
    ),
    "a coloured label map": (
        "label_maps",
        save("labels/a.png", Image.fromarray(IDS)),
        "labels/a.png: a label map has one channel of 8 or 16 bits, but this is RGB; save class",
    ),
    "a label map of another size": (
        "label_maps",
        save("labels/a.png", Image.fromarray(IDS[:20, :, 0])),
        "a.png",
    ),
    "an empty label map": (
        "label_maps",
        lambda root: (root / "labels/a.png").write_bytes(b""),
        "labels/a.png: is empty",
    ),
}


@pytest.mark.parametrize(("name", "make", "sentence"), PIXELS.values(), ids=PIXELS)
def test_fault_of_pixels_is_named_when_it_is_read(
    name: str, make: Callable[[Path], None], sentence: str, kind: str, data: Data
) -> None:
    make(data.root)
    said = data.run(kind, name)
    assert said.status == 2
    assert str(data.root) in said.complaint
    assert sentence in said.complaint


def test_worker_process_says_the_same_sentence(data: Data) -> None:
    cut("images/a.png")(data.root)
    said = data.run("train", "coco", "data.workers=1")
    assert said.status == 2
    assert said.complaint.startswith(f"{data.root / 'images' / 'a.png'}: the picture cannot be")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: (root / "labels/b.png").unlink(), "labels: no label map for 1 pictures of "),
        (lambda root: (root / "labels").rename(root / "gone"), "labels: there is no such folder"),
        (lambda root: (root / "images").rename(root / "gone"), "images: there is no such folder"),
        (lambda root: (root / "classes.json").write_text("{}"), 'classes.json: no list "classes"'),
        (
            lambda root: (root / "classes.json").write_text('{"classes": ["road"]}'),
            "classes.json: class 0 of the list is 'road'; write",
        ),
        (lambda root: (root / "classes.json").unlink(), "classes.json: cannot be read (No such"),
    ],
)
def test_fault_of_label_map_folders_is_named_before_the_first_step(
    make: Callable[[Path], None], sentence: str, kind: str, data: Data
) -> None:
    make(data.root)
    said = data.run(kind, "label_maps")
    assert said.status == 2
    assert sentence in said.complaint
    assert "step" not in said.out


def test_classes_of_other_names_are_refused(data: Data) -> None:
    document = coco()
    document["categories"][0]["name"] = "dog"
    data.write(document, "coco.json")
    said = data.run("evaluate", "coco")
    assert said.status == 2
    assert "the data's classes are dog, square, triangle, but the model's are" in said.complaint


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.mkdir(), "figures.json: is a folder; name a file"),
        (lambda path: path.parent.joinpath("figures.json").mkdir(), "is a folder; name a file"),
    ],
)
def test_figures_that_cannot_be_written_are_known_before_the_evaluation(
    make: Callable[[Path], None], sentence: str, data: Data
) -> None:
    path = data.root / "figures.json"
    make(path)
    said = data.run("evaluate", "coco", "--output", str(path))
    assert said.status == 2
    assert sentence in said.complaint
    assert said.out == ""


def test_full_disk_keeps_the_figures_before(data: Data, full_disk: Callable) -> None:
    path = data.root / "figures.json"
    assert data.run("evaluate", "coco", "--output", str(path)).status == 0
    before = path.read_bytes()
    with full_disk(300):
        said = data.run("evaluate", "coco", "--output", str(path))
    assert said.status == 2
    assert f"{path}: cannot be written (" in said.complaint
    assert path.read_bytes() == before
    assert not list(data.root.glob(".*"))


def test_device_takes_the_figures_and_stays(data: Data) -> None:
    said = data.run("evaluate", "coco", "--output", "/dev/full")
    assert said.status == 2
    assert said.complaint.startswith("/dev/full: cannot be written (No space left on device")
    assert Path("/dev/full").is_char_device()
    assert data.run("evaluate", "coco", "--output", "/dev/null").status == 0
    assert Path("/dev/null").is_char_device()
