"""A small healthy data set in every format, in one folder, to be broken by the tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mask2former.config import Config, parse_config

HEIGHT, WIDTH = 30, 40
PICTURES = {"train": ["a", "b"], "val": ["c"]}
TASKS = {"coco_panoptic": "panoptic", "label_maps": "semantic", "cityscapes": "semantic"}
Change = Callable[[Path], object]


class Made:
    """The folder, and the settings with which each format of it is read."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def config(self, name: str, **changes: Any) -> Config:
        """The settings of a format; `colors` and `palette` are kinds of label maps."""
        kind = {"colors": "label_maps", "palette": "label_maps"}.get(name, name)
        splits = {split: self._split(name, split) for split in ("train", "val")}
        data = {"format": kind, "root": str(self.root), **splits, **changes}
        if kind in ("label_maps", "yolo", "labelme", "voc") and name != "colors":
            data.setdefault("classes", ["sky", "road"])
        if name == "colors":
            data.setdefault("colors", {"sky": [0, 0, 200], "road": [128, 64, 128]})
        data["augmentation"] = {"kind": "fit", "size": [64, 64]}
        task = TASKS.get(kind, "instance")
        test = {"task": task, "short_edge": 64, "max_size": 96}
        return parse_config({"data": data, "test": test}, "the tests")

    def _split(self, name: str, split: str) -> dict[str, str]:
        if name == "voc":
            folders = {"annotations": "SegmentationClass", "labels": "SegmentationObject"}
            return {"images": f"images/{split}", **{k: f"{v}/{split}" for k, v in folders.items()}}
        images = {"cityscapes": "leftImg8bit", "youtube_vis": "frames"}.get(name, "images")
        annotations = {
            "coco": f"{split}.json",
            "coco_panoptic": f"panoptic_{split}.json",
            "youtube_vis": f"videos_{split}.json",
            "cityscapes": f"gtFine/{split}",
            "label_maps": f"maps/{split}",
        }.get(name, f"{name}/{split}")
        return {"images": f"{images}/{split}", "annotations": annotations}


def _save(pixels: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def _write_json(file: Path, **document: object) -> None:
    file.write_text(json.dumps(document))


def _write_pictures(root: Path) -> None:
    """The pictures, and all kinds of maps: the upper half is of class 0, the lower of class 1."""
    draw = np.random.default_rng(0)
    halves = np.zeros((HEIGHT, WIDTH), np.uint8)
    halves[HEIGHT // 2 :] = 1
    segments = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    segments[..., 0] = halves + 1
    for split, names in PICTURES.items():
        for name in names:
            grid = draw.integers(0, 256, (6, 8, 3), np.uint8)
            pixels = np.asarray(Image.fromarray(grid).resize((WIDTH, HEIGHT)))
            place = f"{split}/{name}.png"
            _save(pixels, root / "images" / place)
            _save(pixels, root / "leftImg8bit" / split / "x" / f"{name}_leftImg8bit.png")
            _save(halves, root / "maps" / place)
            _save(segments, root / f"panoptic_{split}" / f"{name}.png")
            _save(halves, root / "SegmentationClass" / place)
            _save(halves + 1, root / "SegmentationObject" / place)
            values = np.where(halves, 7, 23).astype(np.uint8)  # road, sky
            _save(values, root / "gtFine" / split / "x" / f"{name}_gtFine_instanceIds.png")
            colors = np.array([(0, 0, 200), (128, 64, 128)], np.uint8)
            _save(colors[halves], root / "colors" / place)
            palette = Image.fromarray(halves).convert("P")
            (root / "palette" / split).mkdir(parents=True, exist_ok=True)
            palette.save(root / "palette" / place)
            for frame in range(2):
                _save(np.roll(pixels, frame, 1), root / "frames" / split / name / f"{frame}.png")


def _write_annotations(root: Path) -> None:
    categories = [{"id": 1, "name": "sky", "isthing": 1}, {"id": 2, "name": "road", "isthing": 1}]
    half = HEIGHT * WIDTH // 2
    upper = [[0, 0, WIDTH, 0, WIDTH, 15, 0, 15]]
    runs = {"size": [HEIGHT, WIDTH], "counts": [half, half]}
    number = 0
    for split, names in PICTURES.items():
        size = {"height": HEIGHT, "width": WIDTH}
        images, objects, maps, videos, tracks = [], [], [], [], []
        for name in names:
            number += 1
            images.append({"id": number, "file_name": f"{name}.png", **size})
            for category, shape in ((1, upper), (2, runs)):
                entry = {"id": 10 * number + category, "category_id": category, "iscrowd": 0}
                objects.append(entry | {"image_id": number, "segmentation": shape})
                tracks.append(entry | {"video_id": number, "segmentations": [shape, None]})
            info = [{"id": k, "category_id": k, "area": half, "iscrowd": 0} for k in (1, 2)]
            maps.append({"image_id": number, "file_name": f"{name}.png", "segments_info": info})
            frames = [f"{name}/{frame}.png" for frame in range(2)]
            videos.append({"id": number, "file_names": frames, **size})
            folder = root / "yolo" / split
            folder.mkdir(parents=True, exist_ok=True)
            lines = ("0 0 0 1 0 1 0.5 0 0.5", "1 0 0.5 1 0.5 1 1 0 1")
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
            _write_drawing(root, split, name)
        common = {"categories": categories}
        _write_json(root / f"{split}.json", images=images, annotations=objects, **common)
        _write_json(root / f"panoptic_{split}.json", images=images, annotations=maps, **common)
        _write_json(root / f"videos_{split}.json", videos=videos, annotations=tracks, **common)


def _write_drawing(root: Path, split: str, name: str) -> None:
    """A JSON file as labelme writes it."""
    rectangles = {"sky": [[0, 0], [WIDTH, 15]], "road": [[0, 15], [WIDTH, 30]]}
    shapes = [
        {"label": label, "points": points, "shape_type": "rectangle"}
        for label, points in rectangles.items()
    ]
    shapes[0] |= {"points": [[0, 0], [WIDTH, 0], [WIDTH, 15], [0, 15]], "shape_type": "polygon"}
    folder = root / "labelme" / split
    folder.mkdir(parents=True, exist_ok=True)
    picture = f"../../images/{split}/{name}.png"
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    _write_json(folder / f"{name}.json", shapes=shapes, imagePath=picture, imageData=None, **size)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    _write_pictures(tmp_path)
    _write_annotations(tmp_path)
    return Made(tmp_path)
