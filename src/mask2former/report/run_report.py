"""The page of a training run: what was trained on what, how it went, and what the model sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from mask2former.card import ModelCard
from mask2former.config import dump_config
from mask2former.metrics import Inspection
from mask2former.report.evaluation import Report, draw_plots, evaluation_sections, write_rows
from mask2former.report.page import Section, figure, page, table
from mask2former.writing import replace_file, replace_text


def write_run_report(
    folder: Path,
    card: ModelCard,
    report: Report,
    inspection: Inspection,
    *,
    about: Mapping[str, object],
) -> None:
    """Write `report.html`, plots and `classes.csv` of the last validation into a run folder.

    The page takes up `results.png` and `samples/`; `about` is what else is to be known of the run.
    """
    task = card.config.test.task
    plots = draw_plots(report, inspection, task)
    for plot, picture in plots.items():
        replace_file(folder / f"{plot}.png", picture.save)
    write_rows(folder / "classes.csv", report.per_class)
    facts = {"task": task, "classes": _names(card), "licence": card.licence, **about, **_best(card)}
    rows = [{"what": what, "value": str(value)} for what, value in facts.items()]
    curves, samples = folder.glob("results.png"), sorted(folder.glob("samples/*.png"))
    sections = [
        Section("Run", [table(rows)]),
        Section("Curves", [_embedded(path, "Losses, validation, rate.") for path in curves]),
        *evaluation_sections(report, inspection, task, plots),
        Section("Validation pictures", [_embedded(path, path.stem) for path in samples]),
        Section("Settings", [table(list(_settings(dump_config(card.config))))]),
    ]
    replace_text(folder / "report.html", page(f"Training run {folder.name}", sections))


def _names(card: ModelCard) -> str:
    names = card.categories.names
    return f"{len(names)}: {', '.join(names)}"


def _best(card: ModelCard) -> dict[str, object]:
    """Of the best model so far, which the folder keeps."""
    if "validation" not in card.metrics:
        return {}
    figures = card.metrics["validation"].items()
    said = "  ".join(f"{name} {value:.4f}" for name, value in figures)
    return {"best model": f"step {card.metrics['step']}: {said}"}


def _embedded(path: Path, caption: str) -> str:
    with Image.open(path) as picture:
        return figure(picture, caption)


def _settings(tree: Any, above: str = "") -> Iterator[dict[str, str]]:
    """Every value of a tree under its dotted key."""
    for name, value in tree.items():
        key = f"{above}.{name}" if above else str(name)
        if isinstance(value, dict) and value:
            yield from _settings(value, key)
        else:
            yield {"setting": key, "value": str(value)}
