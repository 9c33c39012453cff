"""Maps of numbered objects: every number is an object, whatever bits or colours it is stored in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former import rle
from mask2former.categories import Categories, Category
from mask2former.data import NumberedObjects

CELL = Categories([Category(0, "cell", (0, 255, 0), is_thing=True)])
IDS = np.zeros((20, 30), np.int32)
IDS[2:6, 3:9], IDS[10:15, 1:20], IDS[0:2, 25:30] = 7, 255, 1


def write(folder: Path, ids: Image.Image, ending: str = "png") -> NumberedObjects:
    for place in ("images", "maps"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(folder / "images" / "a.png")
    ids.save(folder / "maps" / f"a.{ending}")
    return NumberedObjects(folder / "images", folder / "maps", CELL)


BORDERED = np.where(np.roll(IDS, 1, axis=0) != IDS, -1, IDS)  # as watershed marks borders

STORED = {
    "8 bits": (Image.fromarray(IDS.astype(np.uint8)), "png"),
    "16 bits": (Image.fromarray((IDS * 200).astype(np.uint16)), "png"),
    "16 bits in TIFF": (Image.fromarray((IDS * 200).astype(np.uint16)), "tif"),
    "32 bits": (Image.fromarray(IDS * 70_000), "tif"),
    "colours": (Image.fromarray(np.stack([IDS % 251, IDS // 2, IDS % 7], -1).astype("u1")), "png"),
}


@pytest.mark.parametrize("stored", STORED)
def test_every_number_is_an_object(stored: str, tmp_path: Path) -> None:
    dataset = write(tmp_path, *STORED[stored])
    wanted = {(number == IDS).tobytes() for number in (1, 7, 255)}
    sample = dataset.sample(0)
    ids = sample["ids"].numpy()[0, 0]
    assert sample["labels"].tolist() == [0, 0, 0]
    assert {(ids == number).tobytes() for number in (1, 2, 3)} == wanted
    truth = dataset.truth(0)
    assert {rle.decode(found.rle).tobytes() for found in truth.instances} == wanted
    assert sorted(found.area for found in truth.instances) == [10, 24, 95]


def test_what_is_below_zero_is_nobody(tmp_path: Path) -> None:
    truth = write(tmp_path, Image.fromarray(BORDERED.astype(np.int32)), "tif").truth(0)
    assert sum(found.area for found in truth.instances) == (BORDERED > 0).sum()
    assert len(truth.instances) == 3


def test_full_and_empty_maps(tmp_path: Path) -> None:
    full = write(tmp_path / "full", Image.fromarray(np.full((20, 30), 3, np.uint8)))
    assert full.sample(0)["labels"].tolist() == [0]
    assert full.truth(0).instances[0].area == 600
    empty = write(tmp_path / "empty", Image.fromarray(np.zeros((20, 30), np.uint8)))
    assert empty.sample(0)["labels"].tolist() == []
    assert empty.truth(0).instances == []


def test_faults_are_sentences(tmp_path: Path) -> None:
    other = write(tmp_path, Image.fromarray(np.zeros((9, 9), np.uint8)))
    with pytest.raises(
        ValueError, match=r"a\.png and .* are not of one size: \(20, 30\) and \(9, 9"
    ):
        other.sample(0)
    two = Categories([*CELL, Category(1, "debris", (0, 0, 0), is_thing=True)])
    with pytest.raises(ValueError, match=r"number objects and tell no classes.* not cell, debris"):
        NumberedObjects(tmp_path / "images", tmp_path / "maps", two)
