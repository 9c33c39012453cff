"""The classes of label maps: from a list that lies beside them, or from what occurs in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mask2former.categories import Categories, Color
from mask2former.config import ClassEntry, Data
from mask2former.data.class_files import read_class_file, read_ignored
from mask2former.files import read_label_map, read_mode
from mask2former.layouts.found import NotThisError
from mask2former.layouts.scan import Scan, scan

LISTS = (
    "classes.json",
    "class_dict.csv",
    "_classes.csv",
    "classes.csv",
    "labels.csv",
    "labelmap.txt",
    "label_colors.txt",
    "class_names.txt",
    "classes.txt",
    "labels.txt",
    "names.txt",
)
"""Names under which lists of classes lie in a data folder or in that of its first split."""
NOBODY = ("void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown")
"""Names of classes that nobody counts."""
VOID = 255
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
MOST_CLASSES = 256
SHARP = 0.9
"""The part of a softened mask's pixels that is 0 or 255 still."""
MOST_SHARP = 32
"""More values than these may be softened borders of a mask of 0 and 255."""
SAMPLE = 20
"""Maps that are looked into where a list tells the classes."""


class Named(NamedTuple):
    """The settings with classes, what to say of them, and how the maps are stored."""

    data: Data
    says: list[str]
    form: str
    is_known: bool  # whether a list names the classes


def name_classes(data: Data, maps: Sequence[Path], *, is_named: bool = False) -> Named:
    """Find the classes of label maps and how they are told: by values or by colours.

    `is_named` tells that a person has named them elsewhere.
    """
    path = find_list(data)
    if path is None:
        return _from_what_occurs(data, scan(maps), maps, is_named=is_named)
    categories, ignore = read_class_file(path), read_ignored(path) or (VOID,)
    if not read_ignored(path) and _is_mask(categories, maps):
        return _as_mask(data, categories, path)
    colors = {category.name: category.color for category in categories}
    some = maps[:: max(1, len(maps) // SAMPLE)]
    occurring = scan(some)
    by_value = occurring.values - {*categories.label_of, *ignore}
    is_deep = read_mode(some[0]).startswith("I")  # 16 bits hold values alone
    by_color = set() if is_deep else scan(some, colored=True).colors - {*colors.values()}
    fits_colors = not is_deep and not by_color
    data = data.model_copy(update={"classes": _entries(categories), "ignore": ignore})
    says = [f"{len(categories)} classes from {path.name}"]
    # A palette's numbers may be any tool's own order, so that its colours are the better witness.
    if fits_colors and (occurring.is_colored or by_value or read_mode(some[0]) == "P"):
        form, data = "colours", data.model_copy(update={"colors": colors})
    elif not by_value and not occurring.is_colored:
        form = f"values {_listed(sorted(occurring.values - {*ignore}))}"
        says += [f"the value {v} counts for nobody" for v in sorted(occurring.values & {*ignore})]
    else:
        strange = list(min(by_color)) if occurring.is_colored else min(by_value)
        raise ValueError(
            f"{path}: names no class for {strange}, which {some[0].parent} holds; add it to the "
            "list, or name it in data.ignore if nobody counts it; maps whose values number objects "
            "are read by data.format=object_maps"
        )
    data, more = without_nobody(data, categories.names)
    return Named(data, [*says, *more], form, is_known=True)


def find_list(data: Data) -> Path | None:
    """The list of classes in the data folder, or with the pictures of its first split."""
    assert data.root is not None
    images = (data.train if data.train.images else data.val).images
    assert images is not None
    folders = dict.fromkeys((data.root, data.root / images, (data.root / images).parent))
    for folder in folders:
        names = {file.name.lower(): file for file in folder.iterdir() if file.is_file()}
        for name in LISTS:
            if name in names:
                return names[name]
    return None


def _is_mask(categories: Categories, maps: Sequence[Path]) -> bool:
    """Whether 0 and 255 tell two classes, listed from 0 on, or one from what it is not."""
    ids = [category.id for category in categories]
    if (len(ids) > 1 and ids != [0, 1]) or read_mode(maps[0]) not in ("1", "L"):
        return False
    few = scan(maps[:: max(1, len(maps) // SAMPLE)])
    return few.values == {0, VOID} and scan(maps).values == {0, VOID}


def _as_mask(data: Data, categories: Categories, path: Path) -> Named:
    *below, above = _entries(categories)
    below = below or [ClassEntry(id=0, name="background", is_thing=False)]
    classes = (*below, above.model_copy(update={"id": VOID}))
    says = [
        f"{len(categories)} classes from {path.name}",
        f"the maps hold 0 and 255 alone, so 0 is {below[0].name} and 255 is {above.name}",
    ]
    data = data.model_copy(update={"classes": classes, "ignore": ()})
    data, more = without_nobody(data, categories.names)
    return Named(data, [*says, *more], f"values 0, {VOID}", is_known=True)


def _from_what_occurs(data: Data, found: Scan, maps: Sequence[Path], *, is_named: bool) -> Named:
    """Classes of maps without a list: a name for every value or colour."""
    if len(found.values) > MOST_SHARP and VOID in found.values:
        demand_sharp(maps)
    keys: list[int | Color] = sorted(found.colors)
    is_mask = set(keys) == {BLACK, WHITE} or found.values == {0, VOID}
    if not found.is_colored:
        keys = sorted(found.values if is_mask else found.values - {VOID})
    what = "colours" if found.is_colored else "values"
    if not 2 <= len(keys) <= MOST_CLASSES:
        raise NotThisError(
            f"the label maps hold {len(keys)} {what}, and those of classes 2 to {MOST_CLASSES} "
            "(data.format=object_maps reads values as numbers of objects)",
            near=True,
        )
    names = ["background", "foreground"] if is_mask else _number_names(keys)
    entries = tuple(
        ClassEntry(id=place, name=name, color=key, is_thing=name != "background")
        if isinstance(key, tuple)
        else ClassEntry(id=key, name=name, is_thing=name != "background")
        for place, (key, name) in enumerate(zip(keys, names, strict=True))
    )
    says = []
    if not is_named:
        says.append(
            f"no list of classes, so the {what} that occur are the classes ({_listed(names)}); "
            "name them by a classes.txt, or by data.classes"
        )
    if VOID in found.values - {*keys}:
        says.append(f"the value {VOID} counts for nobody")
    if BLACK in keys or 0 in keys:
        zero = "black" if found.is_colored else "0"
        says.append(f"{zero} is a class like any other; data.background=void makes it nobody's")
    colors = {entry.name: entry.color for entry in entries if entry.color is not None}
    update = {"classes": entries, "ignore": () if is_mask else (VOID,), "colors": colors or None}
    form = f"{len(keys)} colours" if found.is_colored else f"values {_listed(keys)}"
    return Named(data.model_copy(update=update), says, form, is_known=False)


def demand_sharp(maps: Sequence[Path]) -> None:
    """Raise ValueError for masks of 0 and 255 whose borders have all values between."""
    for file in maps[:: max(1, len(maps) // SAMPLE)]:
        counts = np.bincount(read_label_map(file).ravel(), minlength=VOID + 1)
        between = np.count_nonzero(counts) - 2
        ends = counts[[0, VOID]]
        if ends.all() and between > MOST_SHARP and ends.sum() >= SHARP * counts.sum():
            raise ValueError(
                f"{file}: a mask of 0 and 255 with {between} values between them, as of softened "
                "borders; save it without smoothing (nearest pixel), or cut its values at 128"
            )


def _number_names(keys: Sequence[int | Color]) -> list[str]:
    """A name for every value, level of grey, or, of other colours, place."""
    levels = [{key} if isinstance(key, int) else {*key} for key in keys]
    if all(len(level) == 1 for level in levels):
        return [f"class_{level.pop()}" for level in levels]
    return [f"class_{place}" for place in range(len(keys))]


def without_nobody(data: Data, names: Sequence[str]) -> tuple[Data, list[str]]:
    """Leave out the classes whose names say that nobody counts them."""
    nobody = tuple(name for name in names if name.lower().strip("_") in NOBODY)
    if not nobody or len(nobody) == len(names):
        return data, []
    says = f"{' and '.join(nobody)} counts for nobody (data.ignore_classes=[] makes it a class)"
    return data.model_copy(update={"ignore_classes": nobody}), [says]


def _entries(categories: Categories) -> tuple[ClassEntry, ...]:
    return tuple(ClassEntry.model_validate(entry) for entry in categories.to_json())


def _listed(values: Iterable[object]) -> str:
    """Values in a sentence; many are cut."""
    words = [str(value) for value in values]
    return ", ".join(words if len(words) <= 12 else [*words[:5], "...", words[-1]])
