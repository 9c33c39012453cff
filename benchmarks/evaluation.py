"""Evaluation of 2,000 pictures with 100 predictions each: mask AP and panoptic quality.

AP: ours against pycocotools, once of run lengths that are there already, and once from masks in
memory, which pycocotools encodes one by one as detectron2 has it. PQ: ours from id maps in memory
against one process that reads PNG files. The figures are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from pycocotools import mask as coco_mask

from drawn import Picture, draw_picture, score
from filed_quality import Filed, panoptic_quality, write_ids
from mask2former.categories import Categories
from mask2former.machine import alternate
from mask2former.metrics import AveragePrecision, PanopticQuality
from mask2former.structures import Instances, Truth
from measure import Row, at_least, run

DISTINCT = 20
"""Pictures that are drawn; they come again and again, with other scores."""
Record = tuple[list[dict], list[dict], list[dict]]
"""A picture, its truth and its predictions, as COCO's files have them."""


def encode_one_by_one(found: Instances) -> list[dict]:
    """As detectron2's COCOEvaluator does."""
    masks = (np.asarray(found.mask(i)[0, :, :, None], np.uint8, order="F") for i in range(100))
    return [coco_mask.encode(mask)[0] for mask in masks]


def as_records(pictures: Iterable[tuple[Instances, Truth]]) -> list[Record]:
    """What an evaluation of files starts with."""
    records: list[Record] = []
    for picture, (found, truth) in enumerate(pictures, start=1):
        image = {"id": picture, "height": truth.size[0], "width": truth.size[1]}
        objects = [
            {
                "id": 1000 * picture + number,
                "image_id": picture,
                "category_id": true.label,
                "segmentation": true.rle,
                "area": true.area,
                "iscrowd": 0,
            }
            for number, true in enumerate(truth.instances or ())
        ]
        encoded = encode_one_by_one(found)
        areas = [float(coco_mask.area(runs)) for runs in encoded]
        entries = zip(encoded, found.labels.tolist(), found.scores.tolist(), areas, strict=True)
        detections = [
            {
                "image_id": picture,
                "category_id": label,
                "segmentation": runs,
                "score": value,
                "bbox": [0.0, 0.0, area, 1.0],
            }
            for runs, label, value, area in entries
        ]
        records.append(([image], objects, detections))
    return records


def evaluate_records(
    records: Sequence[Record], categories: Categories, backend: Literal["hotcoco", "pycocotools"]
) -> dict[str, float]:
    """AP of run lengths. The stream within the metric takes them; no public call does."""
    metric = AveragePrecision(categories, backend=backend)
    for record in records:
        metric._stream.update(*record)
    return metric.compute()


def evaluate_masks(
    pictures: Iterable[tuple[Instances, Truth]], categories: Categories
) -> dict[str, float]:
    """AP as `mask2former evaluate` has it."""
    metric = AveragePrecision(categories)
    for found, truth in pictures:
        metric.update(found, truth)
    return metric.compute()


def evaluate_maps(
    pictures: Sequence[Picture], count: int, categories: Categories
) -> dict[str, float]:
    """PQ as `mask2former evaluate` has it."""
    metric = PanopticQuality(categories)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        metric.update(picture.panoptic, picture.truth)
    return metric.compute()


def write_maps(folder: Path, pictures: Sequence[Picture]) -> list[Filed]:
    """Both maps of every picture."""
    filed = []
    for number, (_, panoptic, truth) in enumerate(pictures):
        guess, true = (folder / f"{number}_{name}.png" for name in ("guess", "true"))
        write_ids(guess, panoptic.ids[0])
        assert truth.panoptic is not None
        write_ids(true, truth.panoptic)
        filed.append(Filed(guess, panoptic.segments, true, truth.segments))
    return filed


def compare(
    what: str,
    ours: Callable[[], dict[str, float]],
    theirs: Callable[[], dict[str, float]],
    target: float | None,
    rounds: int,
) -> Row:
    """Time both by turns; every figure of theirs must be ours."""
    found: dict[str, Any] = {}
    calls = {
        "ours": lambda: found.update(ours=ours()),
        "theirs": lambda: found.update(theirs=theirs()),
    }
    seconds = {name: median(s) for name, s in alternate(calls, rounds).items()}
    for name, value in found["theirs"].items():
        if not math.isclose(found["ours"][name], value, rel_tol=1e-12):
            raise AssertionError(f"{what}: {name} is {found['ours'][name]}, theirs {value}")
    headline, value = next(iter(found["theirs"].items()))
    equality = f"{len(found['theirs'])} figures equal, {headline} {value:.4f}"
    return at_least(what, seconds["ours"], seconds["theirs"], target, equality)


def collect(quick: bool) -> list[Row]:
    """The number of rounds is small: each takes minutes."""
    torch.set_num_threads(1)
    categories = Categories.bundled("coco_panoptic")
    count, rounds = (40, 1) if quick else (2000, 3)
    pictures = [
        draw_picture(seed, len(categories), sum(categories.is_thing)) for seed in range(DISTINCT)
    ]
    records = as_records(score(pictures, count))
    evaluation = f"evaluation of {count} pictures"
    with TemporaryDirectory() as folder:
        filed = write_maps(Path(folder), pictures)
        return [
            compare(
                f"{evaluation} x 100, mask AP from run lengths",
                lambda: evaluate_records(records, categories, "hotcoco"),
                lambda: evaluate_records(records, categories, "pycocotools"),
                10.0,
                rounds,
            ),
            compare(
                f"{evaluation} x 100, mask AP from masks",
                lambda: evaluate_masks(score(pictures, count), categories),
                lambda: evaluate_records(
                    as_records(score(pictures, count)), categories, "pycocotools"
                ),
                None,
                1,
            ),
            compare(
                f"{evaluation}, PQ from id maps",
                lambda: evaluate_maps(pictures, count, categories),
                lambda: panoptic_quality(filed[i % DISTINCT] for i in range(count)),
                3.0,
                rounds,
            ),
        ]


if __name__ == "__main__":
    run("evaluation", collect)
