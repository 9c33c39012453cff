"""COCO files: instances as run lengths or as polygons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mask2former import rle
from mask2former.categories import Categories
from mask2former.files import to_json
from mask2former.saving.regions import Add, Record, Region, regions, size_of
from mask2former.structures import Instances
from mask2former.writing import growing_text

Shape = Callable[[Region, int, int], Any]
"""The `segmentation` of a region in a picture of a height and width."""


def coco_categories(categories: Categories) -> list[dict[str, Any]]:
    """The `categories` of a COCO file."""
    return [
        {"id": c.id, "name": c.name, "isthing": int(c.is_thing), "color": list(c.color)}
        for c in categories
    ]


class CocoDocument:
    """A JSON of COCO's kind that grows, so that a large folder's needs no memory.

    Its parts stand in an unusual order: annotations are written at once, what they belong to last.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        categories: Categories,
        holders: Literal["images", "videos"] = "images",
    ) -> None:
        self._write, self._holders = write, holders
        self._entries: list[str] = []
        self._annotations = 0
        head = {
            "info": {"description": "found by mask2former"},
            "licenses": [],
            "categories": coco_categories(categories),
        }
        write(to_json(head).removesuffix("}") + ', "annotations": [')

    def hold(self, entry: dict[str, Any]) -> int:
        """Add a picture or video; its id."""
        number = len(self._entries) + 1
        self._entries.append(to_json({"id": number, **entry}))
        return number

    def annotate(self, entry: dict[str, Any]) -> None:
        """Add an annotation."""
        self._write((",\n" if self._annotations else "\n") + to_json(entry))
        self._annotations += 1

    def number(self) -> int:
        """The id that the next annotation should have."""
        return self._annotations + 1

    def finish(self) -> None:
        """Write what is left."""
        self._write(f'\n], "{self._holders}": [\n' + ",\n".join(self._entries) + "\n]}\n")


@contextmanager
def coco_document(
    path: Path, categories: Categories, holders: Literal["images", "videos"] = "images"
) -> Iterator[CocoDocument]:
    """A document at a path; it is there when all went well."""
    with growing_text(path) as write:
        document = CocoDocument(write, categories, holders)
        yield document
        document.finish()


@contextmanager
def write_coco(folder: Path, categories: Categories) -> Iterator[Add]:
    """`coco.json`: scored instances whose run lengths tell every pixel.

    Annotation tools and our own reader open it. It is not the bare list of results that COCO's
    evaluation takes, which must bear no `bbox`.
    """
    with _written(folder / "coco.json", categories, run_lengths) as add:
        yield add


@contextmanager
def write_coco_polygons(folder: Path, categories: Categories) -> Iterator[Add]:
    """`coco_polygons.json`: the same for tools that move points; polygons have no holes."""
    with _written(folder / "coco_polygons.json", categories, polygons) as add:
        yield add


def result_entries(
    result: Instances, categories: Categories, image_id: int
) -> Iterator[dict[str, Any]]:
    """COCO results, which its evaluation takes as a bare list: category, score and run lengths."""
    for mask, label, score in zip(result.boxed, result.labels, result.scores, strict=True):
        yield {
            "image_id": image_id,
            "category_id": categories[int(label)].id,
            "segmentation": rle.encode_boxed(mask, result.size),
            "score": float(score),
        }


@contextmanager
def _written(path: Path, categories: Categories, shape: Shape) -> Iterator[Add]:
    with coco_document(path, categories) as document:

        def add(record: Record) -> None:
            height, width = size_of(record.result)
            image = document.hold(
                {"file_name": record.picture_name, "height": height, "width": width}
            )
            for region in regions(record.result):
                document.annotate(
                    {
                        "id": document.number(),
                        "image_id": image,
                        "category_id": categories[region.label].id,
                        "segmentation": shape(region, height, width),
                        "area": region.area,
                        "bbox": list(region.box),
                        "iscrowd": 0,
                        "score": region.score,
                    }
                )

        yield add


def run_lengths(region: Region, height: int, width: int) -> rle.Rle:
    """Every pixel, compressed."""
    return rle.encode_part(region.pixels, region.top, region.left, height, width)


def polygons(region: Region, height: int, width: int) -> list[list[float]]:
    """A ring x, y, x, y, ... for each part; holes are filled."""
    return [outer.ravel().tolist() for outer, *_ in region.outlines()]
