"""Which published model some weights are of: by their place, their classes and their size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mask2former.categories import Categories, Category, distinct_color
from mask2former.published import Published, find_published, published_models

TELLING = frozenset({"semantic", "instance", "panoptic", "2019", "2021"})


@dataclass(frozen=True)
class Recognised:
    """The recipe that made some weights, their classes, and how sure that is."""

    recipe: str
    categories: Categories
    remarks: tuple[str, ...] = ()


def recognise(
    path: Path,
    *,
    classes: int,
    parameters: int,
    names: Sequence[str] | None = None,
    recipe: str | None = None,
) -> Recognised:
    """Find the published model at `path`, of so many classes (with these names) and parameters.

    `recipe` is what the user says it is. Weights of nobody's data set are taken as instances.
    """
    if recipe is not None:
        row = find_published(recipe)
        row = row if row is not None and len(_bundled(row.classes)) == classes else None
        return Recognised(recipe, _categories(row, classes, names))
    rows = _candidates(path, classes, parameters, names)
    if rows:
        categories = Categories.bundled(rows[0].classes)
        return Recognised(rows[0].name, categories, _doubt(path, rows))
    remark = (
        f"{path.name}: {classes} classes of no published data set, taken as instances of COCO's "
        "sizes; `mask2former convert` with --recipe NAME says otherwise"
    )
    return Recognised("coco/instance/r50", _categories(None, classes, names), (remark,))


def _candidates(
    path: Path, classes: int, parameters: int, names: Sequence[str] | None
) -> list[Published]:
    """The published rows that fit as well as any, the likeliest first."""
    row = find_published(path)
    if row is not None and len(_bundled(row.classes)) == classes:
        return [row]
    rows = [
        row
        for row in published_models()
        if len(_bundled(row.classes)) == classes
        and (names is None or _alike(names, _bundled(row.classes).names))
    ]
    nearest = min((abs(row.parameters - parameters) for row in rows), default=0)
    rows = [row for row in rows if abs(row.parameters - parameters) == nearest]
    words = TELLING & set(re.split(r"[^a-z0-9]+", "/".join(path.parts[-4:]).lower()))
    named = [row for row in rows if row.matches(sorted(words))]
    # The semantic rule serves panoptic weights too, but not the other way round.
    return sorted(named or rows, key=lambda row: row.task != "semantic")


def _doubt(path: Path, rows: list[Published]) -> tuple[str, ...]:
    """Say which other published models the weights may be."""
    best, *others = rows
    rivals = sorted({r.name for r in others if (r.dataset, r.task) != (best.dataset, best.task)})
    if not rivals:
        return ()
    sentence = (
        f"{path.name} may be {best.name} or {' or '.join(rivals)} by its shapes; it is taken as "
        f"{best.name}. `mask2former convert` with --recipe NAME says otherwise"
    )
    return (sentence,)


def _categories(
    row: Published | None, classes: int, names: Sequence[str] | None = None
) -> Categories:
    """The bundled classes of a row, or what the file calls them, or numbers."""
    if row is not None and (names is None or _alike(names, _bundled(row.classes).names)):
        return _bundled(row.classes)
    names = names or [f"class {label}" for label in range(classes)]
    return Categories(
        Category(label, name, distinct_color(label)) for label, name in enumerate(names)
    )


@cache
def _bundled(name: str) -> Categories:
    return Categories.bundled(name)


def _alike(names: Sequence[str], known: Sequence[str]) -> bool:
    """Whether two lists name the same classes; ports spell some of them otherwise."""
    same = sum(_plain(a) == _plain(b) for a, b in zip(names, known, strict=True))
    return 2 * same > len(known)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.split(r"[,;]|--", name.lower())[0])
