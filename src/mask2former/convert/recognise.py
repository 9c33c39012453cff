"""Which published model some weights are of: by their place, their classes and their size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mask2former.categories import Categories, Category, distinct_color
from mask2former.published import Published, find_published, published_at, published_models

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
        return Recognised(recipe, _categories(find_published(recipe), classes, names))
    row = published_at(path)
    if row is not None and _fits(row, classes, names):
        return Recognised(row.name, _bundled(row.classes))
    rows = _candidates(path, classes, parameters, names)
    if rows:
        return Recognised(rows[0].name, _bundled(rows[0].classes), _doubt(path, rows, names))
    remark = (
        f"{path.name}: {classes} classes of no published data set, taken as instances of COCO's "
        "sizes; `mask2former convert` with --recipe NAME says otherwise"
    )
    return Recognised("coco/instance/r50", _categories(None, classes, names), (remark,))


def _candidates(
    path: Path, classes: int, parameters: int, names: Sequence[str] | None
) -> list[Published]:
    """The published rows that fit as well as any, the likeliest first."""
    rows = [row for row in published_models() if _fits(row, classes, names)]
    nearest = min((abs(row.parameters - parameters) for row in rows), default=0)
    rows = [row for row in rows if abs(row.parameters - parameters) == nearest]
    words = TELLING & set(re.split(r"[^a-z0-9]+", "/".join(path.parts[-4:]).lower()))
    named = [row for row in rows if row.matches(sorted(words))]
    # The semantic rule serves panoptic weights too, but not the other way round.
    return sorted(named or rows, key=lambda row: row.task != "semantic")


def _doubt(path: Path, rows: list[Published], names: Sequence[str] | None) -> tuple[str, ...]:
    """Say which published models the weights may be, and that they lend the names of classes."""
    best, *others = rows
    rivals = sorted({r.name for r in others if (r.dataset, r.task) != (best.dataset, best.task)})
    if not rivals and names is not None:
        return ()
    lent = _bundled(best.classes).names
    classes = "" if names is not None else f", with its class names ({', '.join(lent[:3])}, ...)"
    sentence = (
        f"{path.name} may be {' or '.join([best.name, *rivals])} by its shapes; it is taken as "
        f"{best.name}{classes}. `mask2former convert` with --recipe NAME says otherwise"
    )
    return (sentence,)


def _categories(
    row: Published | None, classes: int, names: Sequence[str] | None = None
) -> Categories:
    """The bundled classes of a row, or what the file calls them, or numbers."""
    if row is not None and _fits(row, classes, names):
        return _bundled(row.classes)
    names = names or [f"class {label}" for label in range(classes)]
    return Categories(
        Category(label, name, distinct_color(label)) for label, name in enumerate(names)
    )


@cache
def _bundled(name: str) -> Categories:
    return Categories.bundled(name)


def _fits(row: Published, classes: int, names: Sequence[str] | None) -> bool:
    """Whether a row has so many classes, of these names; ports spell some of them otherwise."""
    known = _bundled(row.classes).names
    if names is None or len(known) != classes:
        return len(known) == classes
    same = sum(_plain(a) == _plain(b) for a, b in zip(names, known, strict=True))
    return 2 * same > classes


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.split(r"[,;]|--", name.lower())[0])
