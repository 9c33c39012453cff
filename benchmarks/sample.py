"""A training sample with 256 instances at 1024 x 1024: extra memory, file to sample.

Ours reads COCO annotations and jitters the scale; transformers makes float maps of an id map.
Without jitter the masks are the same, pixel by pixel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from transformers import Mask2FormerImageProcessor

from mask2former import rle
from mask2former.benchmark import sample_picture
from mask2former.data import CocoInstances, large_scale_jitter
from mask2former.data.transforms import Transform, resize_only
from measure import Row, at_most, megabytes, run

ROWS = 16
"""Of sixteen discs each."""
SMALL = 64


def write_data(folder: Path, side: int) -> None:
    """A picture and its annotations, for ours; the same ids as an array, for theirs."""
    ids = np.zeros((side, side), np.int32)
    cell = side // ROWS
    rows, columns = np.ogrid[:cell, :cell]
    disc = (rows - cell / 2) ** 2 + (columns - cell / 2) ** 2 < (0.45 * cell) ** 2
    annotations = []
    for number in range(ROWS**2):
        top, left = number // ROWS * cell, number % ROWS * cell
        ids[top : top + cell, left : left + cell][disc] = number + 1
        entry = {"id": number + 1, "image_id": 1, "category_id": 1}
        annotations.append({**entry, "segmentation": rle.encode(ids == number + 1)})
    document = {
        "images": [{"id": 1, "file_name": "picture.png", "height": side, "width": side}],
        "categories": [{"id": 1, "name": "disc"}],
        "annotations": annotations,
    }
    Image.fromarray(sample_picture((side, side))).save(folder / "picture.png")
    np.save(folder / "ids.npy", ids)
    (folder / "truth.json").write_text(json.dumps(document))


def prepare_ours(folder: Path, side: int) -> Callable[[], object]:
    """Read and jitter."""
    dataset = CocoInstances(folder, folder / "truth.json")
    jitter: Transform = large_scale_jitter(side)
    large_scale_jitter(SMALL)(dataset.sample(0))
    torch.manual_seed(3)
    return lambda: jitter(dataset.sample(0))


def prepare_theirs(folder: Path, side: int) -> Callable[[], object]:
    """Read and resize."""
    processor = Mask2FormerImageProcessor(size={"height": side, "width": side}, ignore_index=0)
    ids = np.load(folder / "ids.npy")
    classes = dict.fromkeys(range(ROWS**2 + 1), 0)

    def call() -> object:
        picture = np.array(Image.open(folder / "picture.png"))
        return processor(picture, ids, classes, return_tensors="pt")

    return call


def check_masks(folder: Path, side: int) -> str:
    """Ours without jitter against theirs."""
    sample = resize_only(side)(CocoInstances(folder, folder / "truth.json").sample(0))
    theirs = prepare_theirs(folder, side)()["mask_labels"][0]
    if len(sample["labels"]) != len(theirs):
        raise AssertionError(f"{len(sample['labels'])} objects are not their {len(theirs)}")
    for number, mask in enumerate(theirs, start=1):
        if not torch.equal(sample["ids"][0, 0] == number, mask.bool()):
            raise AssertionError(f"the masks of object {number} differ")
    return f"{len(theirs)} masks equal (without jitter)"


def collect(quick: bool) -> list[Row]:
    """One thread; memory beyond the opened data set."""
    torch.set_num_threads(1)
    side = 256 if quick else 1024
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, side)
        return [
            at_most(
                f"a sample with {ROWS**2} instances at {side}x{side} through LSJ, extra memory",
                megabytes(prepare_ours, folder, side),
                megabytes(prepare_theirs, folder, side),
                100.0,
                check_masks(folder, side),
            )
        ]


if __name__ == "__main__":
    run("sample", collect)
