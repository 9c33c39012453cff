"""Writes one set of annotated pictures in every layout that people bring."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories
from mask2former.data import Dataset, Shapes
from mask2former.polygons import outlines

PALETTE = Categories.bundled("voc")


class Scene(NamedTuple):
    """A picture with its objects; class 0 is the background."""

    name: str
    image: np.ndarray  # (H, W, 3) uint8
    objects: list[tuple[int, np.ndarray]]  # class from 1 on, mask (H, W) bool; disjoint

    @property
    def classes(self) -> np.ndarray:
        """The class of every pixel, (H, W) uint8."""
        values = np.zeros(self.image.shape[:2], np.uint8)
        for number, mask in self.objects:
            values[mask] = number
        return values

    @property
    def places(self) -> np.ndarray:
        """The object of every pixel, 1, 2, ..., (H, W) uint8."""
        values = np.zeros(self.image.shape[:2], np.uint8)
        for place, (_, mask) in enumerate(self.objects, start=1):
            values[mask] = place
        return values


Splits = Mapping[str, Sequence[Scene]]
"""The scenes by the name of their split, which is the name of a folder."""
NAMES = ("circle", "square", "triangle")


def shapes(count: int, seed: int = 0) -> list[Scene]:
    """Made scenes of the three classes."""
    scenes = scenes_of(Shapes(count, (48, 64), seed=seed, task="instance"), range(count))
    return [scene._replace(name=f"{seed}{scene.name}") for scene in scenes]


def scenes_of(dataset: Dataset, indices: Sequence[int]) -> list[Scene]:
    """Scenes of any data set with instances; classes are the labels, from 1 on."""
    scenes = []
    for index in indices:
        truth = dataset.truth(index)
        taken = np.zeros(truth.size, bool)
        objects = []
        for found in truth.instances or ():
            mask = rle.decode(found.rle) & ~taken
            taken |= mask
            if mask.any() and not found.is_crowd:
                objects.append((found.label + 1, mask))
        stem = Path(str(dataset.file(index))).stem
        scenes.append(Scene(stem, dataset.image(index), objects))
    return scenes


def write_picture(folder: Path, name: str, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


def coco_document(scenes: Sequence[Scene], names: Sequence[str] = NAMES) -> dict:
    """Instances as COCO has them, with ids from 1 on."""
    annotations = []
    for picture, scene in enumerate(scenes, start=1):
        for number, mask in scene.objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture,
                    "category_id": number,
                    "segmentation": rle.encode(mask),
                    "area": int(mask.sum()),
                    "bbox": list(rle.box(rle.encode(mask))),
                    "iscrowd": 0,
                }
            )
    images = [
        {
            "id": picture,
            "file_name": f"{scene.name}.png",
            "height": scene.image.shape[0],
            "width": scene.image.shape[1],
        }
        for picture, scene in enumerate(scenes, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(root: Path, splits: Splits, names: Sequence[str] = NAMES) -> None:
    """As COCO: annotations/instances_SPLIT2017.json and a folder SPLIT2017."""
    (root / "annotations").mkdir(parents=True)
    for split, scenes in splits.items():
        for scene in scenes:
            write_picture(root / f"{split}2017", f"{scene.name}.png", scene.image)
        path = root / "annotations" / f"instances_{split}2017.json"
        path.write_text(json.dumps(coco_document(scenes, names)))


def roboflow(root: Path, splits: Splits, names: Sequence[str] = NAMES) -> None:
    """As Roboflow exports COCO: SPLIT/_annotations.coco.json, and a class 0 for the group."""
    for split, scenes in splits.items():
        for scene in scenes:
            write_picture(root / split, f"{scene.name}.png", scene.image)
        document = coco_document(scenes, names)
        for category in document["categories"]:
            category["supercategory"] = "things"
        group = {"id": 0, "name": "things", "supercategory": "none"}
        document["categories"].insert(0, group)
        (root / split / "_annotations.coco.json").write_text(json.dumps(document))


def panoptic(root: Path, splits: Splits, names: Sequence[str] = NAMES) -> None:
    """As COCO panoptic: the objects, and the background as stuff."""
    for split, scenes in splits.items():
        document = coco_document(scenes, names)
        document["categories"].append({"id": 99, "name": "background", "isthing": 0})
        document["annotations"] = []
        for image, scene in zip(document["images"], scenes, strict=True):
            write_picture(root / "images" / split, f"{scene.name}.png", scene.image)
            ids = scene.places.astype(int) * 300 + 7
            colors = np.stack([ids % 256, ids // 256, ids * 0], axis=-1).astype(np.uint8)
            write_picture(root / f"panoptic_{split}", f"{scene.name}.png", colors)
            numbers = [99, *(number for number, _ in scene.objects)]
            segments = [
                {
                    "id": place * 300 + 7,
                    "category_id": number,
                    "area": int((scene.places == place).sum()),
                    "iscrowd": 0,
                }
                for place, number in enumerate(numbers)
            ]
            document["annotations"].append(
                {
                    "image_id": image["id"],
                    "file_name": f"{scene.name}.png",
                    "segments_info": segments,
                }
            )
        (root / f"panoptic_{split}.json").write_text(json.dumps(document))


def yolo(root: Path, splits: Splits, names: Sequence[str] = NAMES) -> None:
    """As Ultralytics: data.yaml, images/SPLIT and labels/SPLIT; classes count from 0."""
    lines = [f"path: ../datasets/{root.name}", "names:"]
    lines += [f"  {number}: {name}" for number, name in enumerate(names)]
    for split, scenes in splits.items():
        key = {"valid": "val", "validation": "val"}.get(split, split)
        lines.append(f"{key}: images/{split}")
        write_polygons(root / "images" / split, root / "labels" / split, scenes)
    (root / "data.yaml").write_text("\n".join(lines))


def write_polygons(images: Path, labels: Path, scenes: Sequence[Scene]) -> None:
    labels.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        write_picture(images, f"{scene.name}.png", scene.image)
        height, width = scene.image.shape[:2]
        rows = []
        for number, mask in scene.objects:
            points = outlines(mask)[0][0] / (width, height)
            rows.append(f"{number - 1} " + " ".join(f"{value:.6f}" for value in points.ravel()))
        (labels / f"{scene.name}.txt").write_text("\n".join(rows))


def labelme(
    root: Path, splits: Splits, images: str = "{}", labels: str = "{}", names: Sequence[str] = NAMES
) -> None:
    """As labelme: a JSON file for each picture, beside it or in a folder by the template."""
    for split, scenes in splits.items():
        folder, place = root / images.format(split), root / labels.format(split)
        place.mkdir(parents=True, exist_ok=True)
        for scene in scenes:
            write_picture(folder, f"{scene.name}.png", scene.image)
            shapes = [
                {
                    "label": names[number - 1],
                    "points": outlines(mask)[0][0].tolist(),
                    "group_id": None,
                    "shape_type": "polygon",
                }
                for number, mask in scene.objects
            ]
            document = {
                "shapes": shapes,
                "imagePath": os.path.relpath(folder / f"{scene.name}.png", place),
                "imageData": None,
                "imageHeight": scene.image.shape[0],
                "imageWidth": scene.image.shape[1],
            }
            (place / f"{scene.name}.json").write_text(json.dumps(document))


def as_palette(values: np.ndarray) -> Image.Image:
    """Values with VOC's palette."""
    picture = Image.fromarray(values, mode="P")
    colors = np.full((256, 3), (224, 224, 192), np.uint8)
    colors[: len(PALETTE)] = [category.color for category in PALETTE]
    picture.putpalette(colors.tobytes())
    return picture


def as_colors(values: np.ndarray) -> Image.Image:
    """The same in RGB."""
    return as_palette(values).convert("RGB")


def label_maps(
    root: Path,
    splits: Splits,
    *,
    images: str = "images/{}",
    labels: str = "labels/{}",
    paint=Image.fromarray,
    ending: str = "",
) -> None:
    """Pictures and label maps in folders by the templates, painted grey, palette or RGB."""
    for split, scenes in splits.items():
        for scene in scenes:
            write_picture(root / images.format(split), f"{scene.name}.png", scene.image)
            folder = root / labels.format(split)
            folder.mkdir(parents=True, exist_ok=True)
            paint(scene.classes).save(folder / f"{scene.name}{ending}.png")


def class_table(root: Path, names: Sequence[str] = NAMES) -> None:
    """A class_dict.csv of VOC's colours."""
    rows = [
        f"{name},{','.join(map(str, PALETTE[number].color))}"
        for number, name in enumerate(("background", *names))
    ]
    (root / "class_dict.csv").write_text("\n".join(["name,r,g,b", *rows]))


def voc(root: Path, splits: Splits, names: Sequence[str] | None = NAMES, paint=as_palette) -> None:
    """As Pascal VOC, with the rims of objects left out; `names` write a labelmap.txt."""
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, scenes in splits.items():
        for scene in scenes:
            write_picture(root / "JPEGImages", f"{scene.name}.png", scene.image)
            for folder, values in (
                ("SegmentationClass", scene.classes),
                ("SegmentationObject", scene.places),
            ):
                (root / folder).mkdir(exist_ok=True)
                paint(values).save(root / folder / f"{scene.name}.png")
        listed = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        listed.write_text("\n".join(scene.name for scene in scenes))
    if names is not None:
        lines = ["# label:color_rgb:parts:actions"]
        for number, name in enumerate(("background", *names)):
            lines.append(f"{name}:{','.join(map(str, PALETTE[number].color))}::")
        (root / "labelmap.txt").write_text("\n".join(lines))


def cityscapes(root: Path, splits: Splits) -> None:
    """As Cityscapes: circles are cars (26), squares persons (24), triangles bicycles (33)."""
    ids = np.array([7, 26, 24, 33])
    for split, scenes in splits.items():
        for scene in scenes:
            town = root / "leftImg8bit" / split / "town"
            write_picture(town, f"{scene.name}_leftImg8bit.png", scene.image)
            values = ids[scene.classes]
            values = np.where(scene.places > 0, values * 1000 + scene.places, values)
            folder = root / "gtFine" / split / "town"
            name = f"{scene.name}_gtFine_instanceIds.png"
            write_picture(folder, name, values.astype(np.uint16))


def youtube_vis(root: Path, splits: Splits, names: Sequence[str] = NAMES) -> None:
    """As YouTube-VIS; every scene is a video of two equal frames."""
    for split, scenes in splits.items():
        videos, annotations = [], []
        for number, scene in enumerate(scenes, start=1):
            frames = [f"{scene.name}/{frame:05d}.png" for frame in (0, 1)]
            for frame in frames:
                folder = root / split / "JPEGImages" / scene.name
                write_picture(folder, Path(frame).name, scene.image)
            height, width = scene.image.shape[:2]
            videos.append(
                {"id": number, "file_names": frames, "height": height, "width": width, "length": 2}
            )
            for label, mask in scene.objects:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "video_id": number,
                        "category_id": label,
                        "segmentations": [rle.encode(mask)] * 2,
                        "areas": [int(mask.sum())] * 2,
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": k, "name": name} for k, name in enumerate(names, start=1)]
        document = {"videos": videos, "annotations": annotations, "categories": categories}
        (root / split / "instances.json").write_text(json.dumps(document))
