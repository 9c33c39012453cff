"""The formats in which results are saved: one table, one file a format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from mask2former.categories import Categories, Task
from mask2former.saving.coco import write_coco, write_coco_polygons
from mask2former.saving.geojson import write_geojson
from mask2former.saving.labelme import write_labelme
from mask2former.saving.maps import write_labels, write_masks
from mask2former.saving.panoptic import write_panoptic
from mask2former.saving.regions import Add, Record
from mask2former.saving.table import write_table
from mask2former.saving.yolo import write_yolo
from mask2former.saving.youtube_vis import write_tracks

__all__ = [
    "CLIP_FORMATS",
    "FORMATS",
    "OVERLAY",
    "RESULTS",
    "Add",
    "Format",
    "Record",
    "choose_formats",
]

ALL: tuple[Task, ...] = ("instance", "panoptic", "semantic")
OBJECTS = "it holds objects, which --task instance finds"


class Format(NamedTuple):
    """One way to save results."""

    write: Callable[[Path, Categories], AbstractContextManager[Add]]
    """Opens what it writes below a folder; all of it is there when its context ends well."""
    places: tuple[str, ...]
    """What that is."""
    tasks: tuple[Task, ...] = ALL
    why: str = OBJECTS
    """Why it cannot hold the results of other tasks."""


FORMATS: dict[str, Format] = {
    "coco": Format(write_coco, ("coco.json",), ("instance",)),
    "coco_polygons": Format(write_coco_polygons, ("coco_polygons.json",), ("instance",)),
    "panoptic": Format(
        write_panoptic,
        ("panoptic.json", "panoptic"),
        ("panoptic",),
        "it holds one segment a pixel, which --task panoptic finds",
    ),
    "labels": Format(
        write_labels,
        ("labels",),
        ("semantic",),
        "it holds one class a pixel, which --task semantic finds",
    ),
    "masks": Format(write_masks, ("masks",), ("instance",)),
    "yolo": Format(write_yolo, ("yolo",), ("instance",)),
    "labelme": Format(write_labelme, ("labelme",)),
    "geojson": Format(write_geojson, ("geojson",)),
    "csv": Format(write_table, ("objects.csv",)),
}
"""What can be saved of pictures, beside drawings; the first that fits a task is its default."""
CLIP_FORMATS: dict[str, Format] = {"tracks": Format(write_tracks, ("tracks.json",), ("instance",))}
"""What can be saved of the clips of a video model."""
OVERLAY = "overlay"
"""The folder of drawings, and the name by which they are chosen."""
RESULTS = (
    OVERLAY,
    *(place for form in (FORMATS | CLIP_FORMATS).values() for place in form.places),
)
"""All that may be written below a folder."""


def choose_formats(
    names: Sequence[str], task: Task, known: Mapping[str, Format]
) -> tuple[str, ...]:
    """The named formats; of none, drawings and the first format of the task.

    Raises ValueError at one that cannot hold the task's results, with why and with those that can.
    """
    possible = [OVERLAY, *(name for name, form in known.items() if task in form.tasks)]
    for name in names:
        if name not in possible:
            why = f"{known[name].why}; " if name in known else ""
            raise ValueError(
                f"cannot save '{name}' of {task} results; {why}choose {', '.join(possible)}"
            )
    return tuple(dict.fromkeys(names)) or tuple(possible[:2])
