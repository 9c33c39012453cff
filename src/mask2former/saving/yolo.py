"""YOLO's text files: a line an object, its class and a polygon in shares of the picture's sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml

from mask2former.categories import Categories
from mask2former.polygons import joined
from mask2former.saving.regions import Add, Record, regions, size_of
from mask2former.structures import Result
from mask2former.writing import replace_text

NOTE = "# The pictures belong into images/, beside labels/.\n"


@contextmanager
def write_yolo(folder: Path, categories: Categories) -> Iterator[Add]:
    """`yolo/data.yaml` and `yolo/labels/*.txt`, which hold no scores: trainers would stumble."""
    place = folder / "yolo"
    names = {"train": "images", "val": "images", "names": dict(enumerate(categories.names))}
    text = yaml.safe_dump(names, sort_keys=False, allow_unicode=True)
    replace_text(place / "data.yaml", NOTE + text)

    def add(record: Record) -> None:
        path = place / "labels" / Path(record.file).with_suffix(".txt")
        replace_text(path, yolo_lines(record.result))

    yield add


def yolo_lines(result: Result) -> str:
    """One line a region; its parts are joined, its holes are filled."""
    sides = np.array(size_of(result)[::-1])
    lines = []
    for region in regions(result):
        ring = joined([outer for outer, *_ in region.outlines()]) / sides
        corners = " ".join(f"{share:.7g}" for share in ring.ravel())
        lines.append(f"{region.label} {corners}\n")
    return "".join(lines)
