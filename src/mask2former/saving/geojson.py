"""GeoJSON (RFC 7946) in pixels, for QuPath, GIS programs and the like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mask2former.categories import Categories
from mask2former.files import to_json
from mask2former.saving.regions import Add, Record, Region, regions, size_of
from mask2former.structures import Result
from mask2former.writing import replace_text

COORDINATES = "pixels: x to the right, y down, the upper left corner of the picture is 0, 0"


@contextmanager
def write_geojson(folder: Path, categories: Categories) -> Iterator[Add]:
    """`geojson/*.geojson`: a FeatureCollection a picture."""

    def add(record: Record) -> None:
        path = folder / "geojson" / Path(record.file).with_suffix(".geojson")
        document = geojson_document(record.result, categories, record.file)
        replace_text(path, to_json(document))

    yield add


def geojson_document(result: Result, categories: Categories, picture: str) -> dict[str, Any]:
    """A FeatureCollection: a Polygon or MultiPolygon with its holes for every region.

    `classification` is where QuPath looks for a class and its colour.
    """
    height, width = size_of(result)
    return {
        "type": "FeatureCollection",
        "coordinate_system": COORDINATES,
        "picture": {"file": picture, "width": width, "height": height},
        "features": [_feature(region, categories) for region in regions(result)],
    }


def _feature(region: Region, categories: Categories) -> dict[str, Any]:
    category = categories[region.label]
    parts = [
        [[*ring.tolist(), ring[0].tolist()] for ring in part]  # closed, as the format wants it
        for part in region.outlines()
    ]
    shape = ("Polygon", parts[0]) if len(parts) == 1 else ("MultiPolygon", parts)
    return {
        "type": "Feature",
        "id": region.id,
        "geometry": dict(zip(("type", "coordinates"), shape, strict=True)),
        "properties": {
            "class": category.name,
            "score": region.score,
            "area": region.area,
            "objectType": "annotation",
            "classification": {"name": category.name, "color": list(category.color)},
        },
    }
