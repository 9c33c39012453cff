"""Files of many channels are read as they are stored; what does not fit is one sentence."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mask2former.files import read_image
from mask2former.rasters import order_channels, read_channels, reader

PIXELS = np.random.default_rng(0).integers(0, 65536, (20, 30, 4), np.uint16)


def write_tiff(path: Path, pixels: np.ndarray, layout: str) -> None:
    match layout:
        case "side by side":
            tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
        case "planes":
            planes = np.moveaxis(pixels, 2, 0)
            tifffile.imwrite(path, planes, photometric="minisblack", planarconfig="separate")
        case "pages":
            tifffile.imwrite(path, np.moveaxis(pixels, 2, 0), photometric="minisblack")
        case "deflated":
            tifffile.imwrite(
                path, pixels, photometric="minisblack", planarconfig="contig", compression="zlib"
            )
        case "big-endian":
            tifffile.imwrite(path, pixels, photometric="minisblack", byteorder=">")
        case "rows as pages":  # what `imwrite` makes of an array that it is told nothing of
            tifffile.imwrite(path, pixels, photometric="minisblack")
        case "tiles":
            tifffile.imwrite(
                path, pixels, photometric="minisblack", planarconfig="contig", tile=(16, 16)
            )


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "layout",
    ["side by side", "planes", "pages", "rows as pages", "deflated", "big-endian", "tiles"],
)
def test_tiff_is_read_as_stored(layout: str, depth: type, tmp_path: Path) -> None:
    pixels = PIXELS.astype(depth)
    write_tiff(tmp_path / "a.tif", pixels, layout)
    found = read_channels(tmp_path / "a.tif", 4)
    assert found.dtype == depth
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 13])
def test_any_number_of_channels_is_read(channels: int, tmp_path: Path) -> None:
    pixels = np.resize(PIXELS, (20, 30, channels))
    write_tiff(tmp_path / "a.tiff", pixels, "pages" if channels == 1 else "side by side")
    np.save(tmp_path / "a.npy", np.moveaxis(pixels, 2, 0))
    for name in ("a.tiff", "a.npy"):
        np.testing.assert_array_equal(read_channels(tmp_path / name, channels), pixels)


def test_colours_of_16_bits_keep_them(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[..., :3], photometric="rgb")
    np.testing.assert_array_equal(read_channels(tmp_path / "a.tif", 3), PIXELS[..., :3])


def test_grey_and_rgba_pictures_have_their_own_channels(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_channels(tmp_path / "grey.png", 1), PIXELS[..., :1])
    four = PIXELS.astype(np.uint8)
    Image.fromarray(four, "RGBA").save(tmp_path / "four.png")
    np.testing.assert_array_equal(read_channels(tmp_path / "four.png", 4), four)


@pytest.mark.parametrize("depth", [np.int16, np.int32, np.uint32, np.float64])
def test_other_numbers_become_float32(depth: type) -> None:
    found = order_channels(PIXELS.astype(depth), 4, "a")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, PIXELS.astype(depth).astype(np.float32))


def test_without_channels_pictures_are_read_as_ever() -> None:
    assert reader(None) is read_image


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (PIXELS[..., :3], "a.npy: has 3 channels, and 4 are wanted"),
        (PIXELS[..., 0], "a.npy: has 1 channel, and 4 are wanted"),
        (PIXELS[None], "height, width and channels, not"),
        (PIXELS[:0], "height, width and channels, not"),
        (np.full((4, 5, 4), np.nan), "infinite or no numbers"),
        (np.ones((4, 5, 4), complex), "complex128, not numbers"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    pixels: np.ndarray, sentence: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(ValueError, match=sentence):
        read_channels(tmp_path / "a.npy", 4)


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.png"])
@pytest.mark.parametrize("content", [b"", b"no picture", b"II*\0\x08\0\0\0\xff\xff"])
def test_broken_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_channels(tmp_path / name, 4)
    with pytest.raises(ValueError, match="gone"):
        read_channels(tmp_path / f"gone.{name[2:]}", 4)
