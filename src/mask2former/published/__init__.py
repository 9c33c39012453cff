"""The published checkpoints as data: their names, files, figures and licence; no weights here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path, PurePath
from typing import Literal, get_args

import yaml

from mask2former.config import Task

UNKNOWN_LICENCE = "other (see the model's page)"


@dataclass(frozen=True)
class HubPort:
    """The same weights on the Hugging Face Hub, and how sure it is that they are there."""

    id: str
    evidence: Literal["seen", "weak"]

    @property
    def folders(self) -> tuple[str, str]:
        """What the folder of a clone is called, and that of the Hub's cache."""
        return self.id.rpartition("/")[2], "models--" + self.id.replace("/", "--")


@dataclass(frozen=True)
class Published:
    """One row of the official model zoo. `name` is also the name of its recipe."""

    name: str
    url: str
    figures: dict[str, float]  # in percent
    parameters: int
    licence: str
    gflops: int | None = None
    hub: HubPort | None = field(default=None)

    @property
    def dataset(self) -> str:
        """`coco`, `cityscapes`, `ade20k`, `mapillary`, `youtubevis_2019` or `youtubevis_2021`."""
        return self.name.partition("/")[0]

    @property
    def task(self) -> Task:
        """What it was trained for; clips are segmented into instances."""
        task = self.name.split("/")[1]
        return task if task in get_args(Task) else "instance"  # pyrefly: ignore[bad-return]

    @property
    def backbone(self) -> str:
        """A backbone preset, such as `swin_b_22k`."""
        return self.name.rpartition("/")[2]

    @property
    def classes(self) -> str:
        """The bundled list of its classes."""
        match self.dataset:
            case "mapillary":
                return "mapillary_vistas"
            case "youtubevis_2019" | "youtubevis_2021":
                return self.dataset
        return f"{self.dataset}_{self.task}"

    @property
    def file(self) -> str:
        """The official file's name, `model_final_94dc52.pkl`."""
        return PurePath(self.url).name

    @property
    def digest(self) -> str:
        """The first digits of the official file's md5."""
        return PurePath(self.url).stem.rpartition("_")[2]

    def matches(self, words: Sequence[str]) -> bool:
        """Whether each word is part of the name, the task or the Hub id."""
        text = f"{self.name} {self.task} {self.hub.id if self.hub else ''}".lower()
        return all(word.lower() in text for word in words)


@cache
def published_models() -> tuple[Published, ...]:
    """All rows, in the order of the official tables."""
    path = resources.files("mask2former") / "published" / "rows.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tuple(_read_row(row, document) for row in document["models"])


def find_published(name: str | Path) -> Published | None:
    """The row that a name or a path is of.

    Names are ours (`coco/panoptic/r50`), the official file's (with or without its ending, its
    folders or its URL) and the Hub's; a path may be a clone of a Hub repository or its cache.
    """
    text = str(name)
    path = PurePath(text)
    folders = {path.name, *path.parts[-3:-2]}  # the cache has models--OWNER--NAME/snapshots/HASH
    for row in published_models():
        if text == row.name or path.name in (row.file, PurePath(row.file).stem):
            return row
        if row.hub is not None and (text == row.hub.id or folders & {*row.hub.folders}):
            return row
    return None


def licence_of(path: Path) -> str:
    """The licence of other people's weights: of the official file, or as the folder's page says."""
    page = path / "README.md"
    if page.is_file():
        return _licence_in(page.read_text(encoding="utf-8", errors="replace"))
    row = find_published(path)
    return row.licence if row is not None and path.name == row.file else UNKNOWN_LICENCE


def _licence_in(page: str) -> str:
    """What the front matter (YAML between two lines of dashes) of a Hub page says."""
    start, *parts = page.split("---\n", 2)
    try:
        front = yaml.safe_load(parts[0]) if not start.strip() and len(parts) == 2 else None
    except yaml.YAMLError:
        front = None
    match front:
        case {"license_name": str() as licence} | {"license": str() as licence}:
            return UNKNOWN_LICENCE if licence == "other" else licence
    return UNKNOWN_LICENCE


def _read_row(row: dict, document: dict) -> Published:
    return Published(
        name=row["name"],
        url=f"{document['home']}/{row['file']}",
        figures=row["figures"],
        parameters=row["parameters"],
        licence=document["licence"],
        gflops=row.get("gflops"),
        hub=HubPort(**row["hub"]) if "hub" in row else None,
    )
