"""COCO's JSON files: instances (also as Roboflow has them), panoptic, and YouTube-VIS."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mask2former.config import Data, Format, Split, Task
from mask2former.data.coco import own_path
from mask2former.faults import shorten
from mask2former.layouts.found import Explicit, Found, NotThisError
from mask2former.layouts.places import (
    IMAGE_WORDS,
    SplitWord,
    folders_below,
    split_of,
    subfolders,
    without_split,
)
from mask2former.layouts.splits import say_splits

MOST_FILES = 100
"""A folder with more JSON files has one a picture, as labelme writes them."""
SECTIONS = (b"images", b"annotations", b"categories")
ENOUGH = 2**20
"""Bytes of a list that hold its first entries."""
SAMPLE = 20
"""Pictures of a file that are looked for; the reader looks for all."""
TELLING: dict[bytes, Format] = {
    b"segments_info": "coco_panoptic",
    b"videos": "youtube_vis",
    b"segmentation": "coco",
}
WORDS: dict[Format, str] = {
    "coco": "COCO instance JSON",
    "coco_panoptic": "COCO panoptic JSON",
    "youtube_vis": "YouTube-VIS JSON",
}
TASKS: dict[Format, tuple[Task, ...]] = {
    "coco": ("instance", "semantic"),
    "coco_panoptic": ("panoptic", "instance", "semantic"),
    "youtube_vis": ("instance",),
}


class Annotations(NamedTuple):
    """A JSON file of annotations."""

    path: Path
    kind: Format
    split: SplitWord | None


def coco(root: Path, explicit: Explicit) -> Found:
    """Recognise COCO instance JSON: one file a split, or Roboflow's folders."""
    return _recognise(root, "coco", explicit)


def coco_panoptic(root: Path, explicit: Explicit) -> Found:
    """Recognise COCO panoptic JSON with its PNG files."""
    return _recognise(root, "coco_panoptic", explicit)


def youtube_vis(root: Path, explicit: Explicit) -> Found:
    """Recognise videos with YouTube-VIS JSON."""
    return _recognise(root, "youtube_vis", explicit)


def _recognise(root: Path, kind: Format, explicit: Explicit) -> Found:
    groups: dict[str, dict[SplitWord | None, Annotations]] = {}
    named = _named(root, explicit)
    for found in named or _survey(root):
        if found.kind == kind:
            name = "" if named else without_split(found.path.relative_to(root).as_posix())
            groups.setdefault(name, {})[found.split] = found
    if not groups:
        raise NotThisError(f"no {WORDS[kind]} in it or one folder deeper")
    if len(groups) > 1:
        names = [min(str(a.path.relative_to(root)) for a in g.values()) for g in groups.values()]
        listed = ", ".join(names[:5])
        raise ValueError(
            f"{root}: {len(groups)} sets of {WORDS[kind]} lie here ({listed}); choose one by "
            "data.train.annotations=... and data.val.annotations=..."
        )
    (files,) = groups.values()
    splits = {split: _locate(root, found) for split, found in files.items()}
    data, says = say_splits(root, splits)
    data = data.model_copy(update={"format": kind})
    roboflow = _is_roboflow(next(iter(files.values())).path)
    if roboflow:
        data, more = _without_group(data, [found.path for found in files.values()])
        says += more
    layout = f"Roboflow's {WORDS[kind]}" if roboflow else WORDS[kind]
    return Found(layout, data, TASKS[kind], says)


def _survey(root: Path) -> list[Annotations]:
    """The JSON files that hold annotations, in the folder and one deeper."""
    found = []
    for folder in (root, *subfolders(root)):
        files = sorted(f for f in folder.glob("*.json") if not f.name.startswith("."))
        for path in files if len(files) <= MOST_FILES else ():
            kind = kind_of(path)
            if kind is not None:
                split = split_of(path.relative_to(root).as_posix())
                found.append(Annotations(path, kind, split))
    return found


def _named(root: Path, explicit: Explicit) -> list[Annotations]:
    """The JSON files that a person named, if any."""
    found = []
    for split in ("train", "val", "test"):
        named = explicit.get(split)
        if isinstance(named, dict) and "annotations" in named:
            path = root / str(named["annotations"])
            if path.suffix.lower() == ".json" and path.is_file() and (kind := kind_of(path)):
                found.append(Annotations(path, kind, split))
    return found


def kind_of(path: Path) -> Format | None:
    """What a JSON file of annotations is, by the first key that tells, without parsing it."""
    if path.stat().st_size == 0:
        return None
    keys = rb'"(segments_info|videos|segmentation|keypoints|caption)"\s*:'
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        found = {m.group(1) for m in islice(re.finditer(keys, text), 20)}
        if not found and all(re.search(rb'"%s"\s*:\s*\[' % key, text) for key in SECTIONS):
            return "coco"  # of pictures without objects
    if found & {b"caption", b"keypoints"}:
        return None
    return next((kind for key, kind in TELLING.items() if key in found), None)


def head_of(path: Path, section: str, count: int) -> list[dict[str, Any]]:
    """The first entries of a list in a JSON file, of which little more is read."""
    decoder = json.JSONDecoder()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        start = re.search(rb'"%s"\s*:\s*\[\s*' % section.encode(), text)
        if start is None:
            return []
        part = text[start.end() : start.end() + ENOUGH].decode("utf-8", errors="replace")
    entries: list[dict[str, Any]] = []
    place = 0
    while len(entries) < count:
        try:
            entry, place = decoder.raw_decode(part, place)
        except ValueError:  # the end of the list, or of what was read
            break
        if isinstance(entry, dict):
            entries.append(entry)
        while part[place : place + 1] in (",", " ", "\n", "\r", "\t"):
            place += 1
    return entries


def _locate(root: Path, found: Annotations) -> Split:
    """A JSON file with the folder of its pictures, and of its PNG files if it has them."""
    videos = found.kind == "youtube_vis"
    entries = head_of(found.path, "videos" if videos else "images", SAMPLE)
    names = [str(name) for entry in entries for name in _file_names(entry)[:3]]
    images = _folder_of(root, names, found, "images")
    labels = None
    if found.kind == "coco_panoptic":
        entries = head_of(found.path, "annotations", SAMPLE)
        png = [str(entry.get("file_name")) for entry in entries]
        beside = found.path.with_suffix("")
        if not png or not (beside / png[0]).is_file():
            labels = _folder_of(root, png, found, "labels").relative_to(root)
    return Split(
        images=images.relative_to(root), annotations=found.path.relative_to(root), labels=labels
    )


def _file_names(entry: dict[str, Any]) -> list[Any]:
    names = entry.get("file_names")
    return names if isinstance(names, list) else [entry.get("file_name")]


def _folder_of(root: Path, names: Sequence[str], found: Annotations, setting: str) -> Path:
    """The one folder with these files, rather of the file's own split, rather beside it."""
    counts = {f: sum((f / own_path(n)).is_file() for n in names) for f in folders_below(root)}
    most = max(counts.values(), default=0)
    # A few may be missing, which the reader says one by one.
    holders = [folder for folder in counts if most and counts[folder] == most]
    holders = holders if 2 * most >= len(names) else []
    for prefer in (
        lambda f: split_of(f.relative_to(root).as_posix()) == found.split,
        lambda f: f == found.path.parent,
        lambda f: f.name.lower() in IMAGE_WORDS or f.parent.name.lower() in IMAGE_WORDS,
    ):
        chosen = [folder for folder in holders if prefer(folder)]
        holders = chosen or holders
    name = found.path.relative_to(root)
    if not holders:
        missing = shorten(names[0], 60) if names else "none named"
        raise NotThisError(
            f"{name} is {WORDS[found.kind]}, but no folder here has its files ({missing}, ...)",
            near=True,
        )
    if len(holders) > 1:
        several = ", ".join(str(folder.relative_to(root)) for folder in holders[:4])
        raise ValueError(
            f"{root}: the files of {name} lie in several folders ({several}); name one by "
            f"data.{found.split or 'train'}.{setting}=..."
        )
    return holders[0]


def _is_roboflow(path: Path) -> bool:
    return path.name == "_annotations.coco.json"


def _without_group(data: Data, files: Sequence[Path]) -> tuple[Data, list[str]]:
    """Leave out the class 0 that Roboflow writes for the whole group and no object has."""
    entries = head_of(files[0], "categories", 10_000)
    match entries:
        case [{"id": 0, "name": str() as name, "supercategory": "none"}, _, *_]:
            pass
        case _:
            return data, []
    if any(_holds_class(path, 0) for path in files):
        return data, []
    says = [f"the class 0 of the export, '{name}', stands for all others and has no objects"]
    if any(entry.get("name") == name for entry in entries[1:]):
        return data.model_copy(update={"merge": {name: (name,)}}), says
    return data.model_copy(update={"ignore_classes": (name,)}), says


def _holds_class(path: Path, number: int) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return re.search(rb'"category_id"\s*:\s*%d\b' % number, text) is not None
