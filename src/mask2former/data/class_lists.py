"""What stands for which class in annotations: lists of names, values and colours of maps."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mask2former import config as c
from mask2former.categories import Categories, Category, Color
from mask2former.config.recipes import nearest
from mask2former.data.class_files import CLASS_FILES, colors_by_name, read_class_file
from mask2former.data.class_maps import BLACK, find_background

NOBODY = -(2**31)
"""The class id of a colour that is named `void` and that nobody counts."""


class MapClasses(NamedTuple):
    """What the pixels of label maps mean."""

    categories: Categories
    ignore: frozenset[int]
    colors: dict[Color, int] | None


def read_classes(
    classes: c.ClassList | None, root: Path, wanted: Categories | None = None
) -> Categories:
    """A class list: entries of the settings, a file below `root`, or a bundled name.

    `wanted` gives the order of the labels, and the classes themselves where no list is set.
    """
    match classes:
        case None if wanted is not None:
            return wanted
        case None:
            raise ValueError(
                "label maps need data.classes: a JSON file of classes, or a bundled name"
            )
        case tuple():
            found = Categories.from_json([entry.model_dump() for entry in classes])
        case _ if Path(classes).suffix.lower() in CLASS_FILES:
            found = read_class_file(root / classes)
        case _:
            found = Categories.bundled(str(classes))
    return found if wanted is None else found.in_order_of(wanted)


def read_map_classes(data: c.Data, wanted: Categories | None = None) -> MapClasses:
    """What values or colours of label maps mean, with the background as the settings have it."""
    root = data.root or Path()
    if data.colors is None:
        # The order of a trained model's labels comes last, when the background is settled.
        own = wanted if data.classes is None else None
        categories, colors = read_classes(data.classes, root, own), None
    else:
        categories, colors = _classes_of_colors(data, data.colors, root)
    ignore = frozenset(data.ignore)
    if data.background == "none":
        return MapClasses(categories, ignore, colors)
    zero = data.offset if colors is None else colors.get(BLACK, -1)
    named = find_background(categories)
    number = zero if named is None else named.id
    if data.background == "void":
        categories = Categories(k for k in categories if k.id != number)
        ignore |= {number - data.offset}
    else:
        ignore -= {number - data.offset}
        if number not in categories.label_of:
            stuff = Category(number, "background", BLACK, is_thing=False)
            categories = Categories([stuff, *categories])
    if colors is not None and named is None:
        colors = {BLACK: number, **colors}
    return MapClasses(categories, ignore, colors)


def _classes_of_colors(
    data: c.Data, colors: Path | dict[str, Color], root: Path
) -> tuple[Categories, dict[Color, int]]:
    """The classes that have colours, and the class id of each colour."""
    named = colors if isinstance(colors, dict) else colors_by_name(root / colors)
    twice = [name for name, color in named.items() if list(named.values()).count(color) > 1]
    if twice:
        raise ValueError(f"data.colors: {' and '.join(twice[:2])} have one colour")
    if data.classes is None:
        categories = Categories(
            Category(place, name, color)
            for place, (name, color) in enumerate(named.items())
            if name != "void"
        )
    else:
        categories = read_classes(data.classes, root)
        for category in categories:
            if category.name not in named:
                hint = nearest(category.name, named)
                raise ValueError(f"data.colors has none for the class '{category.name}'{hint}")
    id_of = {"void": NOBODY} | {category.name: category.id for category in categories}
    strange = next((name for name in named if name not in id_of), None)
    if strange is not None:
        hint = nearest(strange, id_of)
        raise ValueError(f"data.colors: data.classes has no class '{strange}'{hint}")
    return categories, {color: id_of[name] for name, color in named.items()}
