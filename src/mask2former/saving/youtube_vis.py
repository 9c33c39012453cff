"""YouTube-VIS files: the tracks of objects through clips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mask2former import rle
from mask2former.categories import Categories
from mask2former.saving.coco import coco_document
from mask2former.saving.regions import Add, Record
from mask2former.structures import Instances


@contextmanager
def write_tracks(folder: Path, categories: Categories) -> Iterator[Add]:
    """`tracks.json`: videos, categories, scored tracks with an RLE a frame.

    The frames are named relative to the folder of all clips. Our own reader opens the file; its
    `annotations` are what the benchmark's server takes.
    """
    with coco_document(folder / "tracks.json", categories, "videos") as document:

        def add(record: Record) -> None:
            assert isinstance(record.result, Instances)
            length, height, width = record.result.size
            size = {"length": length, "height": height, "width": width}
            video = document.hold({"file_names": list(record.frames), **size})
            for track in track_entries(record.result, categories, video):
                document.annotate({"id": document.number(), "iscrowd": 0, **track})

        yield add


def track_entries(result: Instances, categories: Categories, video_id: int) -> Iterator[dict]:
    """YouTube-VIS results: category, score, and an RLE (null where there is nothing) a frame."""
    for index, (label, score) in enumerate(zip(result.labels, result.scores, strict=True)):
        yield {
            "video_id": video_id,
            "category_id": categories[int(label)].id,
            "score": float(score),
            "segmentations": [
                rle.encode(frame) if frame.any() else None for frame in result.mask(index)
            ],
        }
