"""What an evaluation found, as files a person or a program reads."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mask2former.categories import Task
from mask2former.files import to_json
from mask2former.metrics import Inspection
from mask2former.report.page import Section, figure, page, table
from mask2former.report.plots import draw_classes, draw_confusion, draw_curves
from mask2former.writing import make_folder, replace_file, replace_text

WORST = 12
"""So many pictures are drawn, those understood worst."""
UNITS: dict[Task, str] = {"instance": "objects", "panoptic": "segments", "semantic": "pixels"}
SCORES: dict[Task, str] = {"instance": "F1 at IoU 0.5", "panoptic": "PQ", "semantic": "mIoU"}
"""By what pictures are ranked."""


class Report(NamedTuple):
    """The figures of one evaluation."""

    summary: dict[str, float]  # fractions, the headline first
    per_class: list[dict[str, Any]]
    protocol: str
    pictures: int
    seconds: float

    def score(self, name: str | None = None) -> float:
        """The figure that tells the best model, by default the headline; -inf if not measured."""
        value = self.summary[name or next(iter(self.summary))]
        return float("-inf") if np.isnan(value) else value

    @property
    def measure(self) -> str:
        """The headline figure of a class."""
        return list(self.per_class[0])[1]

    def classes_in_words(self, most: int = 10) -> str:
        """The headline figure of the classes that were measured, best first; of many the ends."""
        figures = [(row[self.measure], str(row["name"])) for row in self.per_class]
        ranked = sorted((each for each in figures if not math.isnan(each[0])), reverse=True)
        said = [f"{name} {value:.3f}" for value, name in ranked]
        half = most // 2
        if len(said) > most:
            said = [*said[:half], f"... ({len(said) - 2 * half} more) ...", *said[-half:]]
        return "  ".join(said)


def draw_plots(report: Report, inspection: Inspection, task: Task) -> dict[str, Image.Image]:
    """Plots by the name of their file: `curves` of instances, else `classes`; and `confusion`."""
    names = inspection.categories.names
    plots = {"confusion": draw_confusion(inspection.confusion.counts, names, UNITS[task])}
    if inspection.curves:
        return {"curves": draw_curves(inspection.curves), **plots}
    if any(not math.isnan(row[report.measure]) for row in report.per_class):
        return {"classes": draw_classes(report.per_class, report.measure), **plots}
    return plots


def evaluation_sections(
    report: Report, inspection: Inspection, task: Task, plots: Mapping[str, Image.Image]
) -> list[Section]:
    """What a page says of an evaluation."""
    rows = [{"figure": name, "value": value} for name, value in report.summary.items()]
    captions = {"curves": "Precision over recall.", "classes": f"{report.measure} of each class."}
    drawn = [figure(plots[name], captions[name]) for name in captions if name in plots]
    shown = "" if task != "instance" else f" Instances score {inspection.threshold:g} or more."
    confusion = figure(
        plots["confusion"],
        "What each true class was taken for, in percent of its row. The last column is what was "
        "missed, the last row what was found where nothing is, in percent of all that was found of "
        f"a class.{shown}",
    )
    return [
        Section("Figures", [table(rows), f"{report.pictures} pictures; {report.protocol}."]),
        Section("Classes", [table(report.per_class), *drawn]),
        Section("Confusions", [confusion]),
        Section("Counts", _counts(inspection)),
    ]


def write_evaluation(
    folder: Path,
    title: str,
    task: Task,
    report: Report,
    inspection: Inspection,
    *,
    name: Callable[[int], str],
    draw: Callable[[int], Image.Image],
    about: Mapping[str, object],
) -> None:
    """Fill a folder with `report.html`, `evaluation.json`, two CSV files, plots and `worst/`.

    `name` and `draw` give a picture's file, and its truth beside the prediction; `about` is what
    else is to be known, such as the licence.
    """
    make_folder(folder)
    document = {**about, "task": task, **report._asdict(), **_as_json(inspection)}
    replace_text(folder / "evaluation.json", to_json(document, indent=1))
    write_rows(folder / "classes.csv", report.per_class)
    write_rows(folder / "pictures.csv", _picture_rows(inspection, name))
    plots = draw_plots(report, inspection, task)
    for plot, picture in plots.items():
        replace_file(folder / f"{plot}.png", picture.save)
    worst = []
    for old in (folder / "worst").glob("[0-9][0-9]_*.png"):  # of an earlier report
        old.unlink()
    for place, figures in enumerate(inspection.worst(WORST), start=1):
        file, picture = name(figures.index), draw(figures.index)
        path = folder / "worst" / f"{place:02}_{Path(file).stem[-100:]}.png"
        replace_file(path, picture.save)
        worst.append(figure(picture, f"{file}: {SCORES[task]} {figures.score:.2f}"))
    facts = table([{"what": what, "value": str(value)} for what, value in about.items()])
    sections = [
        Section("Model", [facts]),
        *evaluation_sections(report, inspection, task, plots),
        Section(f"The worst pictures, by {SCORES[task]}", worst),
    ]
    replace_text(folder / "report.html", page(title, sections))


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A CSV file with the keys as its head; what is no number is left empty."""
    text = io.StringIO()
    if rows:
        sheet = csv.writer(text, lineterminator="\n")
        sheet.writerow(rows[0])
        sheet.writerows([_cell(value) for value in row.values()] for row in rows)
    replace_text(path, text.getvalue())


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return value


def _picture_rows(inspection: Inspection, name: Callable[[int], str]) -> list[dict[str, object]]:
    return [
        {"file": name(each.index), "score": each.score, "true": each.true, "found": each.found}
        for each in inspection.pictures
    ]


def _as_json(inspection: Inspection) -> dict[str, Any]:
    counting = inspection.counting()
    return {
        "counts": counting and counting._asdict(),
        "confusion": {
            "true": [*inspection.categories.names, "nothing"],
            "found": [*inspection.categories.names, "missed"],
            "counts": inspection.confusion.counts.tolist(),
        },
    }


def _counts(inspection: Inspection) -> list[str]:
    """True against found objects, in words."""
    counting = inspection.counting()
    if counting is None:
        return []
    more = "too many" if counting.mean_error > 0 else "too few"
    sentence = (
        f"{counting.true} true objects, {counting.found} found "
        f"({100 * counting.relative_error:+.1f} %). A picture has on average "
        f"{abs(counting.mean_error):.2f} {more}; the mean absolute error is "
        f"{counting.mean_absolute_error:.2f}."
    )
    return [sentence]
