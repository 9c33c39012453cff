"""Entries of a COCO file: what their fields may hold, and one sentence where they hold other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mask2former.categories import Categories
from mask2former.data.listener import STRICT, Listener
from mask2former.faults import excerpt

Entry = dict[str, Any]


class Kind(NamedTuple):
    """What a field may hold."""

    fits: Callable[[Any], bool]
    wanted: str


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63  # type, since True is an int


def _is_text(value: Any, longest: int = 256) -> bool:
    return type(value) is str and 0 < len(value) <= longest


def _is_file_name(value: Any) -> bool:
    return _is_text(value, longest=1024)


def _is_area(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1e15


ID = Kind(lambda v: _is_whole(v) or _is_text(v), "a whole number or a short text")
SIDE = Kind(lambda v: _is_whole(v) and v > 0, "a whole number of pixels from 1 on")
FIELDS = {
    "id": ID,
    "image_id": ID,
    "video_id": ID,
    "category_id": Kind(_is_whole, "a whole number"),
    "file_name": Kind(_is_file_name, "the name of a file"),
    "file_names": Kind(
        lambda v: isinstance(v, list) and all(map(_is_file_name, v)), "a list of file names"
    ),
    "height": SIDE,
    "width": SIDE,
    "area": Kind(_is_area, "a number of pixels"),
    "areas": Kind(
        lambda v: isinstance(v, list) and all(a is None or _is_area(a) for a in v),
        "a list of numbers of pixels",
    ),
    "iscrowd": Kind(lambda v: v in (0, 1), "0 or 1"),
}
"""What the fields of a COCO file may hold, wherever they stand."""


def section(document: Entry, key: str, path: Path) -> list[Entry]:
    """The list of objects under `key`."""
    entries = document.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(
            f"{path}: there is no list of objects under '{key}'; is it a file of the data.format?"
        )
    return entries


def demand(entry: Entry, keys: Sequence[str], what: str, path: Path) -> None:
    """Raise a ValueError if one of `keys` is missing or a field holds what it cannot hold."""
    name = f"{what} (id {excerpt(entry['id'])})" if "id" in entry else what
    for key in keys:
        if key not in entry:
            raise ValueError(f"{path}: {name} has no '{key}'; is it a file of the data.format?")
    for key, value in entry.items():
        if key in FIELDS and not FIELDS[key].fits(value):
            raise ValueError(
                f"{path}: '{key}' of {name} is {excerpt(value)}, not {FIELDS[key].wanted}"
            )


def place_of(entry: Entry, what: str, key: str = "id") -> str:
    """Where a fault is, in a few words: the entry with its id, if it has one."""
    return f"{what} {excerpt(entry[key])}" if key in entry else what


def sound_ids(entries: Iterable[Entry]) -> Iterator[int]:
    """The ids of entries that have one that can be read."""
    return (entry["id"] for entry in entries if "id" in entry and ID.fits(entry["id"]))


def ids_left_out(entries: Iterable[Entry], kept: Iterable[int]) -> set[str]:
    """The ids, as text, of entries that a listener let the reader leave out."""
    return {str(entry.get("id")) for entry in entries} - {str(number) for number in kept}


def check_unique(ids: Iterable[int], what: str, path: Path, listener: Listener = STRICT) -> None:
    """Tell of every id that occurs twice."""
    seen = set()
    for number in ids:
        if number in seen:
            sentence = f"{path}: {what} id {number} occurs more than once; number them anew"
            listener.fault(path, f"{what} {number}", ValueError(sentence))
        seen.add(number)


def label_of(entry: Entry, categories: Categories, name: str) -> int:
    """The label of an annotation's category; `name` is the annotation's, for the error."""
    label = categories.label_of.get(entry["category_id"])
    if label is None:
        raise ValueError(
            f"{name} is of the unknown category {entry['category_id']}; list it in 'categories'"
        )
    return label
