"""The classes of a data set: names, colours, things and stuff, and dataset id <-> index."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import resources
from typing import Any, Literal

from mask2former.faults import excerpt, shorten

Color = tuple[int, int, int]
Task = Literal["semantic", "instance", "panoptic"]
"""What is asked of a picture: the class of each pixel, the objects, or both in one map."""


@dataclass(frozen=True)
class Category:
    """One class. `id` is the data set's own number; the index in `Categories` is ours."""

    id: int
    name: str
    color: Color
    is_thing: bool = True


class Categories(Sequence[Category]):
    """The classes of a data set in the order of the network's outputs (label 0, 1, ...)."""

    def __init__(self, categories: Iterable[Category]) -> None:
        self._items = tuple(categories)
        if not self._items:
            raise ValueError("the data set names no category; at least one is needed")
        ids = [category.id for category in self._items]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(
                f"category ids must be unique, but {excerpt(twice)} occur more than once"
            )

    def __getitem__(self, label: int) -> Category:  # pyrefly: ignore[bad-override]
        return self._items[label]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Category]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Categories) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    @property
    def names(self) -> list[str]:
        """The class names, by label."""
        return [category.name for category in self]

    @property
    def is_thing(self) -> list[bool]:
        """Whether each label is a thing (countable) rather than stuff."""
        return [category.is_thing for category in self]

    @cached_property
    def label_of(self) -> dict[int, int]:
        """Dataset id -> label."""
        return {category.id: label for label, category in enumerate(self)}

    def to_json(self) -> list[dict]:
        """A list of plain dicts, as `config.json` stores it."""
        return [asdict(category) for category in self]

    @classmethod
    def from_json(cls, entries: Sequence[dict]) -> Categories:
        """Read our own entries or COCO's (`isthing`, no colour); the order gives the labels.

        Raises ValueError that names the entry where one is no class.
        """
        if not isinstance(entries, list | tuple):
            raise ValueError(f"the classes are {excerpt(entries)}, not a list")
        return cls(_read_entry(entry, position) for position, entry in enumerate(entries))

    def in_order_of(self, wanted: Categories) -> Categories:
        """These classes with the labels that `wanted` gives their names; the ids stay.

        A part of the wanted classes will do where the ids agree too. Raises ValueError where the
        names differ.
        """
        if {(c.id, c.name) for c in self} <= {(c.id, c.name) for c in wanted}:
            return wanted
        if sorted(self.names) != sorted(wanted.names):
            ours, theirs = ({*a.names} - {*b.names} for a, b in ((self, wanted), (wanted, self)))
            hint = "; data.merge and data.ignore_classes join, rename and leave out classes"
            if len(ours) == len(theirs) == 1:
                hint = f"; data.merge={{{theirs.pop()}: [{ours.pop()}]}} takes one for the other"
            raise ValueError(
                f"the data's classes are {_first(self.names)}, but the model's are "
                f"{_first(wanted.names)}{hint}"
            )
        id_of = {category.name: category.id for category in self}
        return Categories(replace(category, id=id_of[category.name]) for category in wanted)

    def single(self, task: Task) -> frozenset[int]:
        """The labels of which a picture has one region at most: stuff, or all of semantic maps."""
        return frozenset(
            label for label, one in enumerate(self) if task == "semantic" or not one.is_thing
        )

    @classmethod
    def bundled(cls, name: str) -> Categories:
        """Read a class list that ships with the package, such as `coco_panoptic`."""
        folder = resources.files("mask2former") / "categories"
        path = folder / f"{name}.json"
        if not path.is_file():
            known = sorted(p.name.removesuffix(".json") for p in folder.iterdir())
            raise ValueError(f"no bundled class list '{name}'; there are: {', '.join(known)}")
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))


def distinct_color(position: int) -> Color:
    """A fixed colour for the n-th class: hues a golden angle apart, three brightness bands."""
    hue = (0.58 + position * 0.61803398875) % 1.0
    saturation = (0.85, 0.6, 0.75)[position % 3]
    value = (0.95, 0.9, 0.7)[(position // 2) % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _read_entry(entry: Any, position: int) -> Category:
    match entry:
        case {"id": int() as number, "name": str() | int() as name} if not isinstance(number, bool):
            pass
        case _:
            raise ValueError(
                f"class {position} of the list is {excerpt(entry)}; "
                'write {"id": 0, "name": "road"}'
            )
    color = entry.get("color")
    is_thing = entry.get("is_thing", entry.get("isthing", True))
    if is_thing not in (False, True):
        raise ValueError(
            f"class {position} of the list: isthing is {excerpt(is_thing)}, not 0 or 1"
        )
    return Category(
        id=number,
        name=str(name),
        color=distinct_color(position) if color is None else _as_color(color, position),
        is_thing=bool(is_thing),
    )


def _as_color(value: Any, position: int) -> Color:
    match value:
        case [int() as red, int() as green, int() as blue] if all(0 <= c <= 255 for c in value):
            return red, green, blue
    raise ValueError(
        f"class {position} of the list: the colour {excerpt(value)} is no [red, green, blue] "
        "of 0..255"
    )


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(shorten(name, 30) for name in names[:5])
    return shown + (", ..." if len(names) > 5 else "")
