"""Results as the servers of benchmarks take them, under the numbers of their annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mask2former.categories import Categories, Task
from mask2former.files import to_json, write_png
from mask2former.saving.coco import result_entries
from mask2former.saving.panoptic import as_colors
from mask2former.structures import IGNORE, Instances, Panoptic, Result, SemanticMap
from mask2former.writing import growing_text

Entries = Callable[[Instances, Categories, int], Iterable[dict]]
"""What a list holds of the instances of one picture or clip."""
Put = Callable[[int, str, Result], None]
"""Takes a picture's number in its annotations, the name of its file, and what was found."""


@contextmanager
def write_results(
    folder: Path, task: Task, categories: Categories, entries: Entries = result_entries
) -> Iterator[Put]:
    """The results of a task, which are there when all went well.

    Of instances `instances.json`, a bare list of `entries`: COCO's, or `track_entries` of clips; of
    panoptic maps `panoptic.json` and `panoptic/*.png`; of semantic maps `labels/*.png` of the
    classes' ids. Servers know maps by the bare names of pictures: ValueError where two have one.
    """
    named: set[str] = set()
    match task:
        case "instance":
            with _growing_list(folder / "instances.json", "[", "]") as write:

                def put(number: int, name: str, result: Result) -> None:
                    assert isinstance(result, Instances)
                    for entry in entries(result, categories, number):
                        write(entry)

                yield put
        case "panoptic":
            with _growing_list(folder / "panoptic.json", '{"annotations": [', "]}") as write:

                def put(number: int, name: str, result: Result) -> None:
                    assert isinstance(result, Panoptic)
                    file = _map_name(name, named)
                    write_png(folder / "panoptic" / file, as_colors(result.ids[0]))
                    segments = [
                        {"id": segment.id, "category_id": categories[segment.label].id}
                        for segment in result.segments
                    ]
                    write({"image_id": number, "file_name": file, "segments_info": segments})

                yield put
        case "semantic":
            ids = np.array([*(category.id for category in categories), 0])
            depth = np.uint8 if ids.max() < 256 else np.uint16

            def put(number: int, name: str, result: Result) -> None:
                assert isinstance(result, SemanticMap)
                labels = np.where(result.labels[0] == IGNORE, len(categories), result.labels[0])
                path = folder / "labels" / _map_name(name, named)
                write_png(path, ids[labels].astype(depth))

            yield put


def _map_name(picture: str, named: set[str]) -> str:
    """The name of a picture's map, which is added to those that there are."""
    name = Path(picture).with_suffix(".png").name
    if name in named:
        raise ValueError(f"{picture}: another picture's map is called {name} too; rename one")
    named.add(name)
    return name


@contextmanager
def _growing_list(path: Path, head: str, tail: str) -> Iterator[Callable[[dict], None]]:
    """A JSON file of entries that are written one by one between a head and a tail."""
    with growing_text(path) as write:
        lead = head + "\n"

        def put(entry: dict) -> None:
            nonlocal lead
            write(lead + to_json(entry))
            lead = ",\n"

        yield put
        write((lead if lead != ",\n" else "") + "\n" + tail + "\n")
