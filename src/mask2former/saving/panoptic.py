"""COCO panoptic: a JSON of segments and a PNG of their ids for every picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mask2former.categories import Categories
from mask2former.files import write_png
from mask2former.saving.coco import coco_document
from mask2former.saving.regions import Add, Record, regions, size_of
from mask2former.structures import Panoptic


@contextmanager
def write_panoptic(folder: Path, categories: Categories) -> Iterator[Add]:
    """`panoptic.json` and `panoptic/*.png`; segments bear their score beside COCO's own fields."""
    written: set[str] = set()
    with coco_document(folder / "panoptic.json", categories) as document:

        def add(record: Record) -> None:
            assert isinstance(record.result, Panoptic)
            height, width = size_of(record.result)
            name = Path(record.file).with_suffix(".png").as_posix()
            if name in written:
                raise ValueError(
                    f"{record.file}: two pictures would share the label file {name}; rename one"
                )
            written.add(name)
            write_png(folder / "panoptic" / name, as_colors(record.result.ids[0]))
            image = document.hold(
                {"file_name": record.picture_name, "height": height, "width": width}
            )
            segments = [
                {
                    "id": region.id,
                    "category_id": categories[region.label].id,
                    "area": region.area,
                    "bbox": list(region.box),
                    "iscrowd": 0,
                    "score": region.score,
                }
                for region in regions(record.result)
            ]
            document.annotate({"image_id": image, "file_name": name, "segments_info": segments})

        yield add


def as_colors(ids: np.ndarray) -> np.ndarray:
    """RGB whose red is the lowest byte: the bytes of the ids as they are."""
    lowest_first = np.ascontiguousarray(ids, "<i4")
    return np.ascontiguousarray(lowest_first.view(np.uint8).reshape(*ids.shape, 4)[..., :3])
