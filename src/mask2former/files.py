"""Read pictures, label maps and JSON; write maps and JSON."""

from __future__ import annotations

import json
import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mask2former.faults import naming
from mask2former.structures import IGNORE
from mask2former.writing import replace_file

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""The endings, in lower case, by which a folder's pictures are told from its other files."""

TIFF_HEADS = (b"II*\0", b"MM\0*")
"""What TIFF files begin with."""
LARGEST = 2**30
"""Pixels of the largest picture that is read: 32,768 x 32,768, of which an RGB copy is 3 GB."""
CAMERA_BITS = (12, 14, 16)
"""Of the numbers in 16-bit pictures: most cameras of microscopes have fewer than 16."""

_opening = threading.Lock()


class TooLargeError(ValueError):
    """A picture has more pixels than `LARGEST`."""


def is_picture(file: Path) -> bool:
    """Whether a file's ending is that of a picture, and it is not hidden."""
    return file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")


def files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and below, as the disk has them.

    What is hidden (previews of file managers, halves of files that a Mac leaves) is no file.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def pictures_below(folder: Path) -> Iterator[Path]:
    """The pictures among them, by their endings."""
    return filter(is_picture, files_below(folder))


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as RGB, uint8 (H, W, 3), as `as_rgb` has it; of an animation, the first."""
    with opened(path) as image:
        return as_rgb(image, path)


def count_frames(path: str | Path) -> int:
    """How many pictures a file holds: more than one in animations and stacks of pages."""
    with opened(path) as image:
        # MPO is a photograph whose further frames are previews or the other eye's view.
        return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def as_rgb(image: Image.Image, name: str | Path) -> np.ndarray:
    """The pixels of an open picture as RGB, uint8 (H, W, 3), turned upright by its EXIF tag.

    Transparency is laid on white. 16-bit grey is scaled by the range of its camera, so that the
    largest number of 12, 14 or 16 bits, the first that no pixel exceeds, is 255.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # or it would be copied for nothing
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        bits = next(bits for bits in CAMERA_BITS if values.max() < 2**bits)
        grey = (values // ((2**bits - 1) // 255)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"{name}: pictures of 32 bits a pixel have no known range; save 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def read_label_map(path: str | Path) -> np.ndarray:
    """Read a one-channel picture of class numbers as it is stored: uint8 or uint16 (H, W)."""
    with opened(path) as image:
        if image.mode in ("1", "L", "P"):
            return np.array(image, np.uint8)
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)
        raise ValueError(
            f"{path}: a label map has one channel of 8 or 16 bits, but this is {image.mode}; "
            "save class numbers, not colours"
        )


def read_colors(path: str | Path) -> np.ndarray:
    """Read a map of colours as it is stored, RGB uint8 (H, W, 3): palettes are looked up."""
    with opened(path) as image:
        if image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
            return np.array(image.convert("RGB"))
        raise ValueError(f"{path}: a map of colours has 8 bits a channel, but this is {image.mode}")


def read_numbers(path: str | Path) -> np.ndarray:
    """Read a map that tells objects apart, (H, W): its values (uint8, uint16 or int32), or its
    colours as int32 R + 256 G + 65536 B."""
    with opened(path) as image:
        is_coloured = image.mode in ("RGB", "RGBA")
        if image.mode == "I":
            return np.array(image, np.int32)
    return read_panoptic_ids(path) if is_coloured else read_label_map(path)


def read_mode(path: str | Path) -> str:
    """How a picture is stored, in Pillow's words (`L`, `RGB`, ...), from its first bytes."""
    try:
        with warnings.catch_warnings(action="ignore"), _open(path) as image:
            return image.mode
    except Exception:
        read_image(path)  # its sentence says what is wrong
        raise


def read_size(path: str | Path) -> tuple[int, int]:
    """The height and width of a picture as `read_image` gives it, from its first bytes."""
    try:
        with warnings.catch_warnings(action="ignore"), _open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return image.size if turned else (image.height, image.width)
    except Exception:
        height, width, _ = read_image(path).shape  # its sentence says what is wrong
        return height, width


def read_stored_size(path: str | Path) -> tuple[int, int]:
    """The height and width of a picture as it is stored, turned or not; no pixel is decoded."""
    with _naming_faults(path), warnings.catch_warnings(action="ignore"), _open(path) as image:
        return image.height, image.width


def read_panoptic_ids(path: str | Path) -> np.ndarray:
    """Read a COCO panoptic PNG as segment ids, int32 (H, W): id = R + 256 G + 65536 B."""
    with opened(path) as image:
        if image.mode not in ("RGB", "RGBA"):
            raise ValueError(f"{path}: ids are stored as RGB colours, but this is {image.mode}")
        red, green, blue = np.moveaxis(np.array(image, np.int32), -1, 0)[:3]
    return red | green << 8 | blue << 16


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file whose outermost value is an object."""
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    match document:
        case dict():
            return document
    raise ValueError(f"{path}: expected a JSON object, found a {type(document).__name__}")


def to_json(document: Any, indent: int | None = None) -> str:
    """JSON text that every reader takes: null for NaN and infinity, which JSON does not know."""
    return json.dumps(_finite(document), indent=indent, allow_nan=False)


def with_nan(figures: Any) -> Any:
    """Figures read from JSON, with NaN for the nulls that `to_json` wrote."""
    match figures:
        case None:
            return math.nan
        case dict():
            return {key: with_nan(value) for key, value in figures.items()}
        case list():
            return [with_nan(value) for value in figures]
    return figures


def write_label_map(path: str | Path, labels: np.ndarray) -> None:
    """Write labels (H, W) as a one-channel PNG, as `as_label_map` has them."""
    write_png(path, as_label_map(labels))


def as_label_map(labels: np.ndarray) -> np.ndarray:
    """The values of a label map's pixels: 8 bits with 255, or 16 with 65535, for IGNORE."""
    depth = np.uint8 if labels.max(initial=0) < 255 else np.uint16
    assert labels.min(initial=0) >= IGNORE and labels.max(initial=0) < 65535
    return np.where(labels == IGNORE, np.iinfo(depth).max, labels).astype(depth)


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write pixels (H, W) of 8 or 16 bits, or (H, W, 3), as a PNG."""
    picture = Image.fromarray(pixels)
    replace_file(Path(path), lambda beside: picture.save(beside, format="PNG"))


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture and name the file in whatever goes wrong while its pixels are read."""
    with _naming_faults(path), warnings.catch_warnings(action="ignore"), _open(path) as image:
        image.load()
        yield image


@contextmanager
def _naming_faults(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong with a picture is a ValueError that names its file."""
    try:
        yield
    except FileNotFoundError as error:
        link = ", which its link names" if Path(path).is_symlink() else ""
        raise ValueError(f"{path}: there is no such file{link}") from error
    except UnidentifiedImageError as error:
        with Path(path).open("rb") as file:
            head = file.read(4)
        reason = "is not a picture" if head else "is empty"
        if head in TIFF_HEADS:
            reason += " of 8-bit RGB; a model for other channels is trained with data.channels"
        raise ValueError(f"{path}: {reason}") from error
    except MemoryError:
        raise
    except ValueError as error:
        raise ValueError(naming(path, str(error))) from error
    except Exception as error:  # broken files make the decoders stumble over anything
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: the picture cannot be read ({reason})") from error


def _open(path: str | Path) -> Image.Image:
    """Open a picture of any size up to `LARGEST`; Pillow takes far smaller ones for attacks."""
    with _opening:
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = theirs
    if image.width * image.height > LARGEST:
        image.close()
        raise TooLargeError(
            f"{path}: {image.width} x {image.height} pixels are more than can be read at once; "
            "cut the picture into parts"
        )
    return image
