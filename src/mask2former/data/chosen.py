"""Text files that name the pictures of a split, one a line, as VOC and YOLO have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mask2former.faults import shorten
from mask2former.files import PICTURE_SUFFIXES


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that hold anything, without spaces around them."""
    return [line for _, line in numbered_lines(path)]


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """The same with their numbers, from 1, as editors count them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text ({error.reason}); save it as UTF-8") from error
    return [(n, line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]


def choose_files(files: Mapping[str, Path], names: Path) -> dict[str, Path]:
    """The files that the lines of `names` tell, in their order.

    `files` are by their path below the picture folder, without the file type. A line may have the
    type or not, and may begin farther up (`./images/train/a.jpg`), as such lists are often moved.
    Raises ValueError that counts the lines without a file.
    """
    chosen: dict[str, Path] = {}
    missing: list[str] = []
    for line in read_lines(names):
        name = next((tail for tail in _tails(line) if tail in files), None)
        if name is None:
            missing.append(line)
        else:
            chosen[name] = files[name]
    if missing or not chosen:
        first = ", ".join(shorten(line, 120) for line in missing[:3])
        raise ValueError(
            f"{names}: {len(missing)} of the pictures that it names are missing: {first}"
            if missing
            else f"{names}: names no picture"
        )
    return chosen


def _tails(line: str) -> list[str]:
    """The names that a line may mean, the longest first."""
    parts = PurePosixPath(line.replace("\\", "/")).parts
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    bare = [
        tail.removesuffix(suffix)
        for tail in tails
        if (suffix := PurePosixPath(tail).suffix).lower() in PICTURE_SUFFIXES
    ]
    return [name for pair in zip(bare, tails, strict=True) for name in pair] if bare else tails
