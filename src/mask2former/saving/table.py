"""A table of all objects of all pictures, for spreadsheets and statistics."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from mask2former.categories import Categories
from mask2former.saving.regions import Add, Record, regions
from mask2former.writing import growing_text

COLUMNS = ("file", "id", "class", "score", "area", "x", "y", "width", "height")
CENTRE = ("centroid_x", "centroid_y")


@contextmanager
def write_table(folder: Path, categories: Categories) -> Iterator[Add]:
    """`objects.csv`: a row an object with its class, score, area, box and centroid in pixels."""
    with growing_text(folder / "objects.csv") as write:
        table = csv.writer(SimpleNamespace(write=write), lineterminator="\n")
        table.writerow((*COLUMNS, *CENTRE))

        def add(record: Record) -> None:
            for region in regions(record.result):
                score = "" if region.score is None else f"{region.score:.4f}"
                centre = (f"{place:.2f}" for place in region.centroid)
                name = categories[region.label].name
                about = (record.picture_name, region.id, name, score, region.area)
                table.writerow((*about, *region.box, *centre))

        yield add
