"""labelme's JSON files, one a picture, to correct results by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mask2former.categories import Categories
from mask2former.files import to_json
from mask2former.saving.regions import Add, Record, regions, size_of
from mask2former.structures import Result
from mask2former.writing import replace_text


@contextmanager
def write_labelme(folder: Path, categories: Categories) -> Iterator[Add]:
    """`labelme/*.json`, each with the way from there to its picture."""
    place = folder / "labelme"

    def add(record: Record) -> None:
        picture = record.source and os.path.relpath(record.source, place)
        document = labelme_document(record.result, categories, str(picture or record.file))
        replace_text(place / Path(record.file).with_suffix(".json"), to_json(document, indent=1))

    yield add


def labelme_document(result: Result, categories: Categories, picture: str) -> dict[str, Any]:
    """What labelme reads: a polygon for each part of a region, its holes filled.

    The parts of one region share a `group_id`.
    """
    height, width = size_of(result)
    shapes = []
    for region in regions(result):
        parts = region.outlines()
        shapes += [
            {
                "label": categories[region.label].name,
                "points": outer.tolist(),
                "group_id": region.id if len(parts) > 1 else None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
                "score": region.score,
            }
            for outer, *_ in parts
        ]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
