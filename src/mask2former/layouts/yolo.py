"""YOLO segmentation: `data.yaml`, pictures, and text files of polygons beside them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from mask2former.config import ClassEntry, Split
from mask2former.data.chosen import read_lines
from mask2former.faults import excerpt
from mask2former.files import files_below, pictures_below
from mask2former.layouts.found import Explicit, Found, NotThisError
from mask2former.layouts.places import SplitWord, find_places
from mask2former.layouts.splits import say_splits

SAMPLE = 50
"""Label files that are looked into, to tell polygons from boxes."""
KEYS: dict[SplitWord, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid"),
    "test": ("test",),
}


def yolo(root: Path, _: Explicit) -> Found:
    """Recognise YOLO's data.yaml, or Label Studio's classes.txt, with polygons."""
    files = [f for f in sorted(root.iterdir()) if f.suffix.lower() in (".yaml", ".yml")]
    described = {f: d for f in files if (d := _read_description(f)) is not None}
    if len(described) > 1:
        names = ", ".join(file.name for file in described)
        raise ValueError(f"{root}: {names} all describe YOLO data; keep one of them in the folder")
    for file, description in described.items():
        names, splits = _read_names(file, description), _read_splits(root, file, description)
        source = file.name
        break
    else:
        file = root / "classes.txt"
        if not file.is_file():
            raise NotThisError("no data.yaml with 'names' and 'train', and no classes.txt")
        names, splits = dict(enumerate(read_lines(file))), _pair_folders(root)
        source = file.name
    _check_polygons(root, splits)
    data, says = say_splits(root, splits)
    classes = tuple(ClassEntry(id=number, name=name) for number, name in names.items())
    data = data.model_copy(update={"format": "yolo", "classes": classes})
    says.append(f"{len(classes)} classes from {source}")
    return Found("YOLO segmentation", data, ("instance", "semantic"), says)


def is_yolo(tree: Any) -> bool:
    """Whether a YAML file is YOLO's description of a data set rather than our settings."""
    return isinstance(tree, dict) and ("names" in tree or "nc" in tree)


def _read_description(file: Path) -> dict[str, Any] | None:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return None
    return tree if is_yolo(tree) else None


def _read_names(file: Path, description: dict[str, Any]) -> dict[int, str]:
    match description.get("names"):
        case [*names] if names:
            return {number: str(name) for number, name in enumerate(names)}
        case {**names} if names and all(type(number) is int for number in names):
            return {number: str(name) for number, name in names.items()}
        case other:
            raise NotThisError(f"{file.name}: 'names' is {excerpt(other)}, no list", near=True)


def _read_splits(
    root: Path, file: Path, description: dict[str, Any]
) -> dict[SplitWord | None, Split]:
    base = str(description.get("path") or "")
    splits: dict[SplitWord | None, Split] = {}
    for word, keys in KEYS.items():
        value = next((description[key] for key in keys if description.get(key)), None)
        if isinstance(value, list) and len(value) == 1:
            (value,) = value
        if isinstance(value, list):
            raise NotThisError(
                f"{file.name}: '{word}' has several folders; write one text file of pictures",
                near=True,
            )
        if value is None:
            continue
        found = _resolve(root, base, str(value))
        if found is None and word == "test":
            continue  # of a test set often only the name is there
        if found is None:
            raise NotThisError(f"{file.name}: there is no '{value}' here", near=True)
        splits[word] = _as_split(root, found, f"{file.name}: '{word}'")
    if "train" not in splits and "val" not in splits:
        raise NotThisError(f"{file.name} names neither 'train' nor 'val'", near=True)
    return splits


def _resolve(root: Path, base: str, value: str) -> Path | None:
    """Where a path of data.yaml is, which may begin with `../` or the folder of another machine."""
    parts = [part for part in Path(value).parts if part not in ("..", ".", "/")]
    tails = (Path(*parts[start:]) for start in range(len(parts)))
    for candidate in (root / base / value, root / value, *(root / tail for tail in tails)):
        found = candidate.resolve()
        if found.exists() and found.is_relative_to(root.resolve()):
            return root / found.relative_to(root.resolve())
    return None


def _as_split(root: Path, found: Path, name: str) -> Split:
    names = None
    if found.is_file():
        names = found.relative_to(root)
        line = next(iter(read_lines(found)), "")
        picture = _resolve(root, "", line)
        if picture is None:
            raise NotThisError(f"{name}: {found.name} names {excerpt(line)}, not here", near=True)
        found = picture.parent
        while found != root and found.name.lower() != "images":
            found = found.parent
    labels = _labels_of(root, found)
    return Split(images=found.relative_to(root), annotations=labels.relative_to(root), names=names)


def _labels_of(root: Path, images: Path) -> Path:
    """`labels` for `images` in a path, as YOLO has it; else the text files lie beside."""
    parts = list(images.relative_to(root).parts)
    for place in reversed(range(len(parts))):
        if parts[place].lower() == "images":
            labels = root.joinpath(*parts[:place], "labels", *parts[place + 1 :])
            if labels.is_dir():
                return labels
    return images


def _pair_folders(root: Path) -> dict[SplitWord | None, Split]:
    """The splits of a folder without data.yaml: pictures and text files side by side."""
    places = find_places(root)
    images = {p.split: p.folder for p in places if p.role == "images"}
    labels = {p.split: p.folder for p in places if p.role == "labels"}
    both = images.keys() & labels.keys()
    if not both:
        raise NotThisError("classes.txt, but no folders images and labels beside it", near=True)
    return {
        split: Split(
            images=images[split].relative_to(root), annotations=labels[split].relative_to(root)
        )
        for split in both
    }


def _check_polygons(root: Path, splits: dict[SplitWord | None, Split]) -> None:
    """Tell boxes from polygons, by the first lines that there are."""
    for split in splits.values():
        assert split.images is not None
        assert split.annotations is not None
        images, labels = root / split.images, root / split.annotations
        if next(pictures_below(images), None) is None:
            raise NotThisError(f"no picture in {split.images}", near=True)
        files = (f for f in files_below(labels) if f.suffix == ".txt" and f.stat().st_size)
        lines = [line.split() for file in islice(files, SAMPLE) for line in read_lines(file)[:20]]
        if lines and all(len(words) == 5 for words in lines):
            raise NotThisError(
                f"{split.annotations} has boxes (class x y width height) and no masks; export "
                "polygons",
                near=True,
            )
        if not lines:
            raise NotThisError(f"no polygon in the text files of {split.annotations}", near=True)
