"""Write files so that each is either the old one or whole, and say where that cannot be done."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside and rename, so that a file is either the old one or whole; links are followed.

    Missing folders are made. Raises OSError with the file's name where that cannot be written.
    """
    with _replacing(path) as beside, _naming(path):
        write(beside)


@contextmanager
def growing_text(path: Path) -> Iterator[Callable[[str], object]]:
    """The same of a text in UTF-8 that is written piece by piece: hands out what writes a piece.

    What goes wrong between two pieces is raised as it is, and the old file stays.
    """
    with _replacing(path) as beside:
        with _naming(path):
            file = beside.open("w", encoding="utf-8", newline="")

        def write(text: str) -> None:
            with _naming(path):
                file.write(text)

        try:
            yield write
            with _naming(path):
                file.flush()
        finally:
            with suppress(OSError):  # it has been said before
                file.close()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A place beside a file for what takes its place in the end, if all goes well."""
    # A device or a pipe must not be replaced; a folder cannot be written, and the error says so.
    is_stream = path.exists() and not path.is_file()
    if is_stream:
        yield path
        return
    target = path.resolve()
    # Shortened, since a name that is as long as a name can be has no room for ours; the number
    # tells names apart that begin alike, and is the same in the next life of a killed process.
    number = zlib.crc32(os.fsencode(target.name))
    beside = target.with_name(f".{target.stem[:40]}.{number:08x}.part{target.suffix[:20]}")
    try:
        with _naming(path):
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.touch()
            mode = beside.stat().st_mode  # as everybody's files; some writers have their own
        yield beside
        with _naming(path):
            beside.chmod(mode)
            beside.replace(target)
    finally:
        if beside.exists():
            beside.unlink()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever goes wrong is an OSError that names the file."""
    try:
        yield
    except Exception as error:  # libraries that write have errors of their own
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{path}: cannot be written ({reason})") from error


def demand_writable(path: Path) -> None:
    """Raise an OSError now if a file could not be written later; one that exists stays as it is."""
    if path.is_dir():
        raise OSError(f"{path}: is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        path.open("ab").close()
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror}); name another file") from error
    if not existed:
        path.unlink()


def make_folder(path: Path) -> None:
    """Make a folder for results, or raise an OSError that names it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file has its name" if path.is_file() else error.strerror
        raise OSError(f"{path}: no folder can be made there ({reason}); name another") from error


def replace_text(path: Path, text: str) -> None:
    """`replace_file` for text, in UTF-8."""
    replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def add_line(path: Path, line: str) -> None:
    """Add a line to a text file in UTF-8, or raise an OSError that names it."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror})") from error
