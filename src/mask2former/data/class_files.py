"""Lists of classes as other tools write them: JSON, CSV with colours, CVAT's label map, names."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mask2former.categories import Categories, Category, Color, distinct_color
from mask2former.data.chosen import read_lines
from mask2former.faults import excerpt
from mask2former.files import read_json

CLASS_FILES = (".json", ".csv", ".txt")
"""What the names of such lists end in; other words name the lists of this package."""
_NAME = ("name", "class", "class_name", "classname", "label", "label_name")
_NUMBER = ("pixel value", "pixel_value", "id", "value", "index", "class_id", "label_id")
_CHANNELS = (("r", "red"), ("g", "green"), ("b", "blue"))


class ClassLine(NamedTuple):
    """One line of a list: what it says of a class."""

    name: str
    number: int
    color: Color | None


def read_class_file(path: Path) -> Categories:
    """A file of classes as categories; ValueError with the file where it is none.

    JSON has `{"classes": [{"id": 0, "name": "road"}, ...]}`; `.csv` and `.txt` are read as
    `read_class_lines` tells, and a class without a number has that of its line, from 0 on.
    """
    try:
        if path.suffix.lower() == ".json":
            entries = read_json(path).get("classes")
            if not isinstance(entries, list):
                raise ValueError('no list "classes"; write {"classes": [{"id": 0, "name": ...}]}')
            return Categories.from_json(entries)
        return Categories(
            Category(line.number, line.name, line.color or distinct_color(place))
            for place, line in enumerate(read_class_lines(path))
        )
    except ValueError as error:
        sentence = str(error)
        raise ValueError(sentence if str(path) in sentence else f"{path}: {sentence}") from None


def read_class_lines(path: Path) -> list[ClassLine]:
    """The lines of `class_dict.csv`, `labels.csv`, `labelmap.txt` (CVAT) or a file of names."""
    lines = read_lines(path)
    if path.suffix.lower() == ".csv":
        found = _read_csv(lines, path)
    elif any(_is_cvat(line) for line in lines):
        found = [_read_cvat(line, path) for line in lines if not line.startswith("#")]
    else:
        found = [(name, None, None) for name in lines]
    if not found:
        raise ValueError(f"{path}: names no class")
    return [
        ClassLine(name, place if number is None else number, color)
        for place, (name, number, color) in enumerate(found)
    ]


def colors_by_name(path: Path) -> dict[str, Color]:
    """The colour of every class that a file tells of."""
    colors = {line.name: line.color for line in read_class_lines(path)}
    bare = [name for name, color in colors.items() if color is None]
    if bare:
        raise ValueError(f"{path}: the class {excerpt(bare[0])} has no colour")
    return {name: color for name, color in colors.items() if color is not None}


_Parts = tuple[str, int | None, Color | None]


def _read_csv(lines: Iterable[str], path: Path) -> list[_Parts]:
    first, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines))
    header = [cell.lower() for cell in first]
    column = {cell: place for place, cell in reversed(list(enumerate(header)))}

    def place_of(words: Iterable[str]) -> int | None:
        return next((column[word] for word in words if word in column), None)

    name, number = place_of(_NAME), place_of(_NUMBER)
    channels = [place_of(words) for words in _CHANNELS]
    if name is None:
        raise ValueError(f"{path}: its first line names no column {', '.join(_NAME[:3])}")
    found: list[_Parts] = []
    for row in rows:
        try:
            color = (
                None if None in channels else _as_color([row[c] for c in channels if c is not None])
            )
            found.append((row[name], None if number is None else int(row[number]), color))
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}: the line {excerpt(','.join(row))} is no class") from error
    return found


def _is_cvat(line: str) -> bool:
    return line.count(":") == 3 and line.split(":")[1].count(",") == 2


def _read_cvat(line: str, path: Path) -> _Parts:
    try:
        name, color, _, _ = line.split(":")
        return name, None, _as_color(color.split(","))
    except ValueError as error:
        raise ValueError(
            f"{path}: the line {excerpt(line)} is no name:r,g,b:parts:actions"
        ) from error


def _as_color(words: Iterable[str]) -> Color:
    red, green, blue = (int(word) for word in words)
    if not all(0 <= level <= 255 for level in (red, green, blue)):
        raise ValueError("a colour has levels of 0..255")
    return red, green, blue


def read_ignored(path: Path) -> tuple[int, ...]:
    """The values that a JSON list of classes says nobody counts, under `ignore_label`."""
    if path.suffix.lower() != ".json":
        return ()
    match read_json(path).get("ignore_label", []):
        case int() as value:
            return (value,)
        case [*values] if all(type(value) is int for value in values):
            return tuple(values)
        case other:
            raise ValueError(f"{path}: 'ignore_label' is {excerpt(other)}, no number")
