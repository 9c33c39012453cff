"""Questions to the annotation files that the readers do not ask, since training would not mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mask2former import config as c
from mask2former.data import Dataset
from mask2former.data.coco import own_path
from mask2former.data.entries import Entry
from mask2former.files import files_below, pictures_below, read_json
from mask2former.report.check.findings import Findings

FAR = 2.0
"""Pixels by which annotation tools may be off."""
LOSSY = frozenset({".jpg", ".jpeg", ".jfif", ".webp"})


def check_files(data: c.Data, split: c.Split, findings: Findings) -> None:
    """What the format's files say beside what is trained on; faulty entries are passed over."""
    root = data.root or Path()
    if split.annotations is None or split.images is None:
        return
    annotations, images = root / split.annotations, root / split.images
    match data.format:
        case "coco":
            pictures, objects = _entries(annotations, "images", "annotations")
            check_boxes(annotations, pictures, objects, findings)
            check_unlisted(annotations, pictures, images, findings)
        case "coco_panoptic":
            (pictures,) = _entries(annotations, "images")
            check_unlisted(annotations, pictures, images, findings)
        case "label_maps" | "object_maps" | "voc":
            check_lossy(annotations, data.endings[1], findings)
        case "yolo":
            check_strays(images, annotations, findings)


def check_boxes(
    path: Path, pictures: Sequence[Entry], objects: Sequence[Entry], findings: Findings
) -> None:
    """Do polygons leave their picture, or their own box? Both tell of a picture that was resized,
    cropped or turned after it had been annotated."""
    for entry, (width, height) in _polygons(pictures, objects):
        corners = np.concatenate([np.reshape(part, (-1, 2)) for part in entry["segmentation"]])
        low, high = corners.min(axis=0), corners.max(axis=0)
        where = f"annotation {entry['id']}"
        beyond = max(*(-low), *(high - (width, height)))
        if beyond > FAR and (high > 0).all() and (low < (width, height)).all():
            sentence = f"reaches {beyond:.0f} pixels beyond its picture, where it is cut off"
            findings.add("warning", path, where, f"{path}: {where} {sentence}")
        match entry.get("bbox"):
            case [_, _, _, _] as box if _are_finite(box):
                own = [*low.tolist(), *(high - low).tolist()]
                apart = max(abs(said - is_) for said, is_ in zip(box, own, strict=True))
                if apart > max(FAR, 0.1 * max(own[2:])):
                    sentence = (
                        f"has the bbox {_rounded(box)}, but its polygons fill {_rounded(own)}"
                    )
                    findings.add("warning", path, where, f"{path}: {where} {sentence}")


def check_unlisted(path: Path, pictures: Sequence[Entry], images: Path, findings: Findings) -> None:
    """Which pictures of the folder does the file not list?"""
    listed = {own_path(str(entry.get("file_name"))) for entry in pictures}
    files = (file.relative_to(images) for file in sorted(pictures_below(images)))
    missing = [file.as_posix() for file in files if file.as_posix() not in listed]
    if missing:
        sentence = f"{path}: {len(missing)} pictures of {images} are not listed and not used"
        findings.add("note", path, "images", f"{sentence}, for one {missing[0]}")


def check_lossy(folder: Path, ending: str, findings: Findings) -> None:
    """Are label maps, whose names have an ending, stored in a way that changes their values?"""
    maps = (f for f in sorted(pictures_below(folder)) if f.stem.endswith(ending))
    lossy = [file for file in maps if file.suffix.lower() in LOSSY]
    if lossy:
        sentence = f"{folder}: {len(lossy)} label maps are JPEG or WebP, which change values at"
        findings.add("warning", folder, "", f"{sentence} borders, for one {lossy[0]}; save PNG")


def check_strays(images: Path, labels: Path, findings: Findings) -> None:
    """Which label files have no picture?"""
    names = {file.relative_to(images).with_suffix("") for file in pictures_below(images)}
    for file in sorted(files_below(labels)):
        name = file.relative_to(labels).with_suffix("")
        if file.suffix == ".txt" and name not in names and file.stem != "classes":
            findings.skip(file, "", f"{file}: no picture has its name; it is left out")


def check_segments(dataset: Dataset, index: int, path: Path, findings: Findings) -> None:
    """Does each segment of a panoptic map have the pixels that the file says?"""
    truth = dataset.truth(index)
    if truth.panoptic is None:
        return
    numbers, counts = np.unique(truth.panoptic, return_counts=True)
    area_of = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    file = Path(dataset.file(index)).name
    for segment in truth.segments:
        area, where = area_of.get(segment.id, 0), f"segment {segment.id} of {file}"
        if not area:
            findings.skip(path, where, f"{path}: {where} has no pixel and is left out")
        elif abs(area - segment.area) > max(10, 0.01 * area):
            sentence = f"has {area} pixels, but its area is said to be {segment.area}"
            findings.add("warning", path, where, f"{path}: {where} {sentence}")


def _polygons(
    pictures: Sequence[Entry], objects: Sequence[Entry]
) -> Iterator[tuple[Entry, tuple[float, float]]]:
    """The annotations with sound polygons, and the width and height of their pictures."""
    sizes = {}
    for entry in pictures:
        match entry:
            case {
                "id": int() | str() as number,
                "width": int() as width,
                "height": int() as height,
            }:
                sizes[number] = (width, height)
    for entry in objects:
        match entry:
            case {"id": _, "image_id": int() | str() as number, "segmentation": [*parts]} if parts:
                if number in sizes and all(map(_is_polygon, parts)):
                    yield entry, sizes[number]


def _entries(path: Path, *keys: str) -> list[list[Entry]]:
    """The objects under each key; none where the file is broken, which its reader tells."""
    try:
        document = read_json(path)
    except ValueError:
        document = {}
    lists = [document.get(key) for key in keys]
    return [
        [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        for entries in lists
    ]


def _is_polygon(part: object) -> bool:
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 and _are_finite(part)


def _are_finite(numbers: list) -> bool:
    return all(isinstance(n, int | float) and abs(n) < 1e9 for n in numbers)


def _rounded(numbers: Sequence[float]) -> list[int]:
    return [round(number) for number in numbers]
