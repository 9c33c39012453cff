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

    def is_at(self, path: Path) -> bool:
        """Whether a folder is named as a clone, or as a version in the Hub's cache."""
        cache = "models--" + self.id.replace("/", "--")
        in_cache = path.parts[-3:-1] == (cache, "snapshots")
        return in_cache or path.name == self.id.rpartition("/")[2]


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


def find_published(name: str) -> Published | None:
    """The row of a name.

    Names are ours (`coco/panoptic/r50`), the official file's (with its folders or its URL, or
    without its ending) and the Hub's, whole: another owner's repository is another model.
    """
    for row in published_models():
        hub_ids = [row.hub.id] if row.hub is not None else []
        if name in (row.name, PurePath(row.file).stem, *hub_ids):
            return row
        if PurePath(name).name == row.file:
            return row
    return None


def published_at(path: Path) -> Published | None:
    """The row that a path is named after: the official file, a Hub repository's clone or its cache.

    What lies there may be something else by now; its classes tell.
    """
    ports = (row for row in published_models() if row.hub is not None and row.hub.is_at(path))
    return next(ports, None) or find_published(path.name)


def licence_of(path: Path) -> str:
    """The licence of other people's weights: as the folder's page says, or else the row's."""
    page = path / "README.md"
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    row = published_at(path)
    return _licence_in(text) or (UNKNOWN_LICENCE if row is None else row.licence)


def _licence_in(page: str) -> str | None:
    """What the front matter (YAML between two lines of dashes) of a Hub page says."""
    start, *parts = page.split("---\n", 2)
    try:
        front = yaml.safe_load(parts[0]) if not start.strip() and len(parts) == 2 else None
    except yaml.YAMLError:
        front = None
    match front:
        case {"license_name": str() as licence} | {"license": str() as licence}:
            return None if licence == "other" else licence
    return None


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
