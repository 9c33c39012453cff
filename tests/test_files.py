"""Pictures in many modes and faults, and written results that the readers understand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask2former.categories import Categories, Category
from mask2former.files import (
    read_image,
    read_json,
    read_label_map,
    replace_file,
    to_json,
    with_nan,
    write_label_map,
)
from mask2former.structures import IGNORE

CATEGORIES = Categories(
    [Category(5, "cat", (200, 0, 0)), Category(9, "grass", (0, 200, 0), is_thing=False)]
)
RED = (250, 10, 20)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif" if mode in ("CMYK", "YCbCr") else tmp_path / "a.png"
    picture = Image.new("RGB", (4, 3), RED).convert(mode)
    picture.save(path)
    image = read_image(path)
    assert image.shape == (3, 4, 3)
    assert image.dtype == np.uint8
    assert abs(image[0, 0].astype(int) - np.array(picture.convert("RGB"))[0, 0]).max() <= 2


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()


def test_sixteen_bits_are_scaled_by_their_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].tolist() == [[0] * 3, [1] * 3, [255] * 3]


def test_exif_turns_the_picture_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.new("RGB", (8, 4), RED).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (8, 4, 3)


def noise_png(folder: Path) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "whole.png")
    return (folder / "whole.png").read_bytes()


def test_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.png: there is no such file"):
        read_image(tmp_path / "a.png")


def test_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("length", "message"), [(0, "is empty"), (4, "is not a picture"), (900, "cannot be read")]
)
def test_broken_picture_is_named(tmp_path: Path, length: int, message: str) -> None:
    (tmp_path / "a.png").write_bytes(noise_png(tmp_path)[:length])
    with pytest.raises(ValueError, match=rf"a\.png.* {message}"):
        read_image(tmp_path / "a.png")


def test_picture_without_known_range_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: pictures of 32 bits"):
        read_image(tmp_path / "a.tif")


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json: cannot be read"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(("largest", "void"), [(254, 255), (255, 65535)])
def test_label_map_is_as_deep_as_its_labels(tmp_path: Path, largest: int, void: int) -> None:
    path = tmp_path / "maps" / "a.png"
    write_label_map(path, np.array([[0, largest, IGNORE]], np.int16))
    assert read_label_map(path).tolist() == [[0, 254 if void == 255 else largest, void]]


def test_what_is_no_number_becomes_null_and_nan_again() -> None:
    text = to_json({"AP": math.nan, "rows": [{"IoU": math.inf, "name": "a"}, (0.5, None)]})
    assert json.loads(text) == {"AP": None, "rows": [{"IoU": None, "name": "a"}, [0.5, None]]}
    read = with_nan(json.loads(text))
    assert math.isnan(read["AP"])
    assert math.isnan(read["rows"][0]["IoU"])
    assert read["rows"][0]["name"] == "a"


def test_failed_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half(beside: Path) -> None:
        beside.write_text("ne")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        replace_file(path, write_half)
    assert path.read_text() == "old"
    replace_file(path, lambda beside: beside.write_text("new"))
    assert path.read_text() == "new"
