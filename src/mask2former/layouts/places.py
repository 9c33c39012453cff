"""Folders by what their names say: which split of the data, pictures or labels."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

SplitWord = Literal["train", "val", "test"]
Role = Literal["images", "labels"]

SPLITS: dict[str, SplitWord] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
IMAGE_WORDS = frozenset(
    {"images", "image", "imgs", "img", "pictures", "photos", "rgb", "frames", "jpegimages"}
    | {"input", "inputs"}
)
LABEL_WORDS = frozenset(
    {"labels", "label", "masks", "mask", "annotations", "annotation", "ann", "anno", "annot"}
    | {"annots", "gt", "groundtruth", "labelmaps", "labelmap", "segmentation", "segmentations"}
    | {"seg", "target", "targets", "semantic"}
)
MOST_FOLDERS = 5000


class Place(NamedTuple):
    """A folder and what its name says."""

    folder: Path
    split: SplitWord | None
    role: Role | None


def split_of(name: str) -> SplitWord | None:
    """The split that a name speaks of, as `instances_train2017` does."""
    return next((SPLITS[word] for word in _words(name) if word in SPLITS), None)


def role_of(name: str) -> Role | None:
    """Whether a name speaks of pictures or of labels; the last word decides."""
    for word in reversed(_words(name)):
        if word in LABEL_WORDS:
            return "labels"
        if word in IMAGE_WORDS:
            return "images"
    return None


def _words(name: str) -> list[str]:
    """The words of a name in lower case; `trainannot` are two."""
    words = []
    for word in re.findall(r"[a-z]+", name.lower()):
        split = next(
            (s for s in SPLITS if word.startswith(s) and word[len(s) :] in LABEL_WORDS), ""
        )
        words += [split, word.removeprefix(split)] if split else [word]
    return words


def without_split(name: str) -> str:
    """A name with a hole where it speaks of a split, equal for `valid/a` and `train/a`."""
    return re.sub(r"[A-Za-z]+", lambda m: "{}" if m.group().lower() in SPLITS else m.group(), name)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones and those of packers."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__MACOSX"))]
    return [folder / name for name in sorted(names)]


def folders_below(root: Path) -> list[Path]:
    """The folder, the folders in it and those in these."""
    first = subfolders(root)
    return [root, *islice((f for one in first for f in (one, *subfolders(one))), MOST_FOLDERS)]


def find_places(root: Path) -> list[Place]:
    """The folders whose names say something, down to two levels, and the folder itself.

    `images/train`, `train/images`, `train_images` and `img_dir/train` all say the same.
    """
    places = [Place(root, None, None)]
    for folder in subfolders(root):
        split, role = split_of(folder.name), role_of(folder.name)
        below = [
            Place(sub, split or split_of(sub.name), role or role_of(sub.name))
            for sub in subfolders(folder)
            if (not split and split_of(sub.name)) or (not role and role_of(sub.name))
        ]
        if below and (split or role):
            places += below
        elif split or role:
            places.append(Place(folder, split, role))
    return places
