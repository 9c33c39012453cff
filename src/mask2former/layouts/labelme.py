"""labelme: a JSON file for each picture, beside it or in a folder of their own."""

from __future__ import annotations

import mmap
import os
import re
from itertools import islice
from pathlib import Path

from mask2former.config import ClassEntry, Data, Split
from mask2former.data.class_files import read_class_file
from mask2former.data.labelme import drawings_below
from mask2former.files import pictures_below, read_json
from mask2former.layouts.classes import find_list, without_nobody
from mask2former.layouts.found import Explicit, Found, NotThisError
from mask2former.layouts.places import SplitWord, find_places, folders_below, split_of
from mask2former.layouts.splits import say_splits

SAMPLE = 5
"""JSON files of a folder that are looked into."""


def labelme(root: Path, explicit: Explicit) -> Found:
    """Recognise labelme's JSON files, as its own and as `predict --save labelme` writes them."""
    folders: dict[SplitWord | None, list[Path]] = {}
    for folder in folders_below(root):
        if _holds_drawings(folder):
            below = folder.relative_to(root).as_posix()
            folders.setdefault(split_of(below), []).append(folder)
    if not folders:
        raise NotThisError("no JSON file of labelme, with shapes and imagePath")
    if None in folders and len(folders) > 1:
        inside, (other, *_) = folders[None][0], next(f for word, f in folders.items() if word)
        raise ValueError(
            f"{root}: files of labelme lie in {other.relative_to(root)} and in "
            f"{inside.relative_to(root)}, which names no split; move these, or name "
            "data.train.annotations and data.val.annotations"
        )
    tops = {word: Path(os.path.commonpath(found)) for word, found in folders.items()}
    splits = {
        word: Split(
            images=_pictures_of(root, top, word).relative_to(root),
            annotations=top.relative_to(root),
        )
        for word, top in tops.items()
    }
    data, says = say_splits(root, splits)
    data = data.model_copy(update={"format": "labelme"})
    return _with_classes(data, says, list(tops.values()), explicit)


def _holds_drawings(folder: Path) -> bool:
    files = sorted(f for f in folder.glob("*.json") if not f.name.startswith("."))
    return any(map(is_drawing, islice(files, SAMPLE)))


def is_drawing(path: Path) -> bool:
    """Whether a JSON file is labelme's, by its keys, without parsing it."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        keys = (rb'"shapes"\s*:\s*\[', rb'"imagePath"\s*:')
        return all(re.search(key, text) for key in keys)


def _pictures_of(root: Path, folder: Path, split: SplitWord | None) -> Path:
    """The folder of the pictures: the files' own, or one that is named so."""
    if next(pictures_below(folder), None) is None:
        for place in find_places(root):
            if place.role == "images" and place.split == split:
                return place.folder
    return folder


def _with_classes(data: Data, says: list[str], folders: list[Path], explicit: Explicit) -> Found:
    """The classes of a list in the folder, or the labels that occur."""
    layout, tasks = "JSON files of labelme", ("instance", "semantic")
    if explicit.get("classes") is not None:
        return Found(layout, data, tasks, says)
    listed = find_list(data)
    names = sorted(_labels_in(folders)) if listed is None else read_class_file(listed).names
    if not names:
        raise NotThisError("no shape with a label in its files", near=True)
    shown = ", ".join(names if len(names) <= 12 else [*names[:5], "...", names[-1]])
    says.append(
        f"the labels that occur are the classes ({shown}); a classes.txt or data.classes may list "
        "them otherwise"
        if listed is None
        else f"{len(names)} classes from {listed.name}"
    )
    entries = tuple(ClassEntry(id=number, name=name) for number, name in enumerate(names))
    data, more = without_nobody(data.model_copy(update={"classes": entries}), names)
    return Found(layout, data, tasks, [*says, *more], has_names=listed is not None)


def _labels_in(folders: list[Path]) -> set[str]:
    """The labels of all shapes; what cannot be read its reader tells."""
    labels = set()
    for folder in folders:
        for path in drawings_below(folder).values():
            try:
                document = read_json(path)
            except ValueError:
                continue
            shapes = document.get("shapes")
            for shape in shapes if isinstance(shapes, list) else ():
                match shape:
                    case {"label": str() as label} if label:
                        labels.add(label)
    return labels
