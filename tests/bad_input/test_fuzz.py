"""Files that nobody thought of: a reader reads, or says in one sentence which file is broken.

The suite tries a few hundred of them, always the same. `MASK2FORMER_FUZZ=100000` tries so many of
each kind, always others; what that found stands here as examples and in the tables beside.
"""

import copy
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mask2former import files
from mask2former.categories import Categories, Category
from mask2former.checkpoint import load_card, load_model
from mask2former.config import load_config
from mask2former.data import CocoInstances, CocoPanoptic, Dataset, LabelMaps

LONG = int(os.environ.get("MASK2FORMER_FUZZ", "0"))


def fuzz(count: int) -> Callable:
    """Runs a test on so many examples, or on all that a long run asks for."""
    return settings(
        max_examples=LONG or count,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


HUGE = 10**400
NUMBERS = [-1, 0, 1, 2, 3, 7, 255, 2**24, 2**31, 2**63, HUGE, -HUGE, 0.5, 1e-300, 1e300, 6.0]
NO_NUMBERS = [float("nan"), float("inf"), -float("inf"), True, False, None]
TEXTS = ["", "1", "zzzz", "é\ud800\0", "a/../a.png", "/", "x" * 5000, "[", "a.png\n", "null"]
LEAVES = st.sampled_from([*NUMBERS, *NO_NUMBERS, *TEXTS]) | st.text(max_size=9) | st.floats()
JUNK = LEAVES | st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: a container and the key or number of one of its values."""
    match tree:
        case dict():
            keys: Any = list(tree)
        case list():
            keys = range(len(tree))
        case _:
            return
    for key in keys:
        yield tree, key
        yield from places(tree[key])


@st.composite
def broken(draw: st.DrawFn, document: Any, junk: st.SearchStrategy = JUNK) -> Any:
    """A document with a few values replaced, dropped, exchanged, wrapped or repeated."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(document))
        if not found:
            return draw(junk)
        container, key = draw(st.sampled_from(found))
        match draw(st.integers(0, 5)):
            case 0:
                del container[key]
            case 1:
                other, name = draw(st.sampled_from(found))
                container[key] = copy.deepcopy(other[name])
            case 2:
                container[key] = [container[key]]
            case 3 if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case _:
                container[key] = draw(junk)
    return document


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with a few bytes changed, lost or doubled; the first ones, which say most, often."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        size = len(content)
        first = draw(st.integers(0, min(size, 64)) | st.integers(0, size))
        last = min(size, first + draw(st.integers(0, 16)))
        match draw(st.integers(0, 3)):
            case 0:
                content[first:last] = draw(st.binary(max_size=16))
            case 1:
                content[first : first + 1] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"["]))
            case 2:
                content[first:first] = content[first:last]
            case _:
                del content[first:last]
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@contextmanager
def reading(folder: Path, longest: int = 500) -> Iterator[None]:
    """What is read inside is read, or refused in one sentence that names a file of the folder."""
    try:
        yield
    except (ValueError, OSError) as error:
        assert str(folder) in str(error)
        assert len(str(error).replace(str(folder), "")) <= longest


def read_all(dataset: Dataset) -> None:
    """Read every sample and every truth."""
    for index in range(len(dataset)):
        with reading(Path(dataset.file(index)).parents[-2]):
            dataset.sample(index)
        with reading(Path(dataset.file(index)).parents[-2]):
            dataset.truth(index)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of 8 x 6 pixels, each with a panoptic PNG whose upper half is segment 1."""
    root = tmp_path_factory.mktemp("fuzz")
    (root / "set").mkdir()
    ids = np.zeros((6, 8, 3), np.uint8)
    ids[:3, :, 0] = 1
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6)).save(root / name)
        Image.fromarray(ids).save(root / "set" / name)
    return root


IMAGES = [
    {"id": number, "file_name": name, "height": 6, "width": 8}
    for number, name in enumerate(("a.png", "b.png"))
]
COCO = {
    "images": IMAGES,
    "categories": [
        {"id": 1, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
        {"id": 2, "name": 5},
    ],
    "annotations": [
        {
            "id": number,
            "image_id": number % 2,
            "category_id": 1,
            "area": 9.5,
            "iscrowd": 0,
            "segmentation": shape,
        }
        for number, shape in enumerate(
            [
                [[1, 1, 5, 1, 5, 5], [0.5, 0.5, 3, 3, 0, 3]],
                {"size": [6, 8], "counts": [10, 20, 18]},
                {"size": [6, 8], "counts": ":d0b0"},
            ]
        )
    ],
}
PANOPTIC = {
    "images": IMAGES,
    "categories": COCO["categories"],
    "annotations": [
        {
            "image_id": number,
            "file_name": name,
            "segments_info": [{"id": 1, "category_id": 1, "area": 24, "iscrowd": 0}],
        }
        for number, name in enumerate(("a.png", "b.png"))
    ],
}


@fuzz(250)
@given(document=broken(COCO))
def test_coco_is_read_or_refused(document: Any, root: Path) -> None:
    (root / "set.json").write_text(json.dumps(document))
    with reading(root):
        read_all(CocoInstances(root, root / "set.json"))


@fuzz(250)
@given(document=broken(PANOPTIC))
def test_panoptic_is_read_or_refused(document: Any, root: Path) -> None:
    (root / "set.json").write_text(json.dumps(document))
    with reading(root):
        read_all(CocoPanoptic(root, root / "set.json"))


@fuzz(100)
@given(content=damaged(json.dumps(COCO).encode()))
def test_damaged_json_is_read_or_refused(content: bytes, root: Path) -> None:
    (root / "set.json").write_bytes(content)
    with reading(root):
        read_all(CocoInstances(root, root / "set.json"))


def stored(form: str, mode: str = "RGB", **how: Any) -> bytes:
    """A small picture as a file of some form."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    into = io.BytesIO()
    picture.save(into, form, **how)
    return into.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6
PICTURES = {
    "png": stored("PNG"),
    "palette": stored("PNG", "P", transparency=0),
    "sixteen": stored("PNG", "I;16") if "I;16" in Image.MODES else stored("PNG", "I"),
    "exif": stored("JPEG", exif=EXIF),
    "cmyk": stored("JPEG", "CMYK"),
    "gif": stored("GIF", save_all=True, append_images=[Image.new("RGB", (16, 12))]),
    "tiff": stored("TIFF", compression="tiff_lzw"),
    "webp": stored("WEBP"),
    "bmp": stored("BMP"),
    "ppm": stored("PPM"),
    "tga": stored("TGA"),
    "jp2": stored("JPEG2000"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_damaged_picture_is_read_or_refused(
    kind: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST", 2**20)  # what claims to be larger is refused soon
    path = root / "p.png"

    @fuzz(40)
    @given(content=damaged(PICTURES[kind]))
    def read(content: bytes) -> None:
        path.write_bytes(content)
        for reader in (files.read_image, files.count_frames, files.read_label_map):
            with reading(root):
                reader(path)
        with reading(root):
            files.read_panoptic_ids(path)

    read()


@fuzz(60)
@given(
    content=damaged(stored("PNG", "L")),
    ignore=st.lists(st.sampled_from([-1, 0, 255, 65535, 65536, HUGE]), max_size=3),
)
def test_damaged_label_map_is_read_or_refused(
    content: bytes, ignore: list[int], root: Path
) -> None:
    for folder in ("pictures", "labels"):
        (root / folder).mkdir(exist_ok=True)
    (root / "pictures" / "p.png").write_bytes(PICTURES["png"])
    (root / "labels" / "p.png").write_bytes(content)
    classes = Categories(Category(i, str(i), (0, 0, 0)) for i in range(256))
    read_all(LabelMaps(root / "pictures", root / "labels", classes, ignore=ignore))


TREE = {
    "extends": "nuclei",
    "model": {"dim": 32, "backbone": {"kind": "swin", "depths": [1, 1, 1, 1]}, "mean": [1, 2, 3]},
    "loss": {"num_points": 3},
    "data": {
        "format": "coco",
        "root": "x",
        "train": {"images": "a"},
        "fold": [0, 5],
        "ignore": [255],
        "augmentation": {"kind": "crop", "short_edges": [3, 4], "crop": [5, 6]},
    },
    "train": {"schedule": {"kind": "step", "milestones": [0.5, 0.7]}, "clip": None},
    "test": {"task": "semantic", "threshold": 0.5},
}


@fuzz(120)
@given(tree=broken(TREE))
@example(tree={"extends": "x" * 5000})
@example(tree={"extends": "x" * 5000 + ".yaml"})
def test_recipe_is_read_or_refused(tree: Any, root: Path) -> None:
    (root / "mine.yaml").write_text(yaml.safe_dump(tree, allow_unicode=False))
    with reading(root):
        load_config(str(root / "mine.yaml"))


@fuzz(120)
@given(content=damaged(yaml.safe_dump(TREE).encode()))
def test_damaged_recipe_is_read_or_refused(content: bytes, root: Path) -> None:
    (root / "mine.yaml").write_bytes(content)
    with reading(root):
        load_config(str(root / "mine.yaml"))


@pytest.fixture(scope="module")
def copied(model: Path, root: Path) -> Path:
    """A model folder that may be broken."""
    return Path(shutil.copytree(model, root / "model"))


# No number is such that a network of that size would have to be made.
SMALL = st.sampled_from([*NUMBERS, *NO_NUMBERS, *TEXTS])


def test_card_is_read_or_refused(copied: Path, model: Path) -> None:
    document = json.loads((model / "config.json").read_text())

    @fuzz(60)
    @given(card=broken(document, SMALL))
    def read(card: Any) -> None:
        (copied / "config.json").write_text(json.dumps(card))
        with reading(copied):
            load_card(copied)
        with reading(copied, longest=1500):  # with the tensors that differ
            load_model(copied)

    read()


def test_damaged_weights_are_read_or_refused(copied: Path, model: Path) -> None:
    shutil.copy(model / "config.json", copied)
    whole = (model / "model.safetensors").read_bytes()

    @fuzz(30)
    @given(content=damaged(whole))
    def read(content: bytes) -> None:
        (copied / "model.safetensors").write_bytes(content)
        with reading(copied, longest=1500):  # with the tensors that differ
            load_model(copied)

    read()
