"""Draw what `run.py` found beside what the paper found: a Markdown page, a plot and the figures.

A row is compared with the table's reference by the difference of the means over seeds. It counts
where it is larger than its own 95 % interval, whose spread is that of all rows over their seeds.
"""

from __future__ import annotations

import csv
import math
import shutil
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median, variance
from typing import NamedTuple

from matplotlib.figure import Figure
from scipy.stats import t as student

from rows import ROWS, SETTINGS, TABLES, Row

DOCS = Path(__file__).parents[2] / "docs"
SOURCES = {"semantic": "mIoU on ADE20K", "instance": "AP on COCO", "panoptic": "PQ on COCO"}
INTRODUCTION = """# Ablations

The paper's tables 4, 5, X and XI with a small network (EfficientNet-Lite0, 5.4 M parameters), crops
of 128 x 128, four a step, and {steps} steps. `python benchmarks/ablations/run.py --semantic camvid`
trains the rows (with `--rows default --seeds 5`: the reference again and again, for the spread),
`python benchmarks/ablations/report.py` writes this page from [ablations.csv](ablations.csv). The
paper trains R50 on COCO and ADE20K for days: that a difference does not show here says little of
the paper, and a row that learnt nothing yet says nothing.

All rows with one seed took {minutes:.0f} minutes of one processor core that was not idle.

`ours` is the mean over (number of) seeds, in percent. A difference counts where it is larger than
its 95 % interval, which comes from the spread of all rows over their seeds. A step is loss and
gradients of four crops with nine objects each, on one thread; its time is that of the processor,
its memory what it needs beyond the weights. GFLOP are those of a picture of 512 x 512.

![Differences from the reference](ablations.png)
"""
LEARNT = 0.2
"""Of the reference's figure: what reaches less has not begun to learn in so few steps."""
COLUMNS = (
    "row",
    "ours",
    "difference",
    "paper",
    "verdict",
    "step, s",
    "memory, MB",
    "GFLOP",
    "parameters, M",
    "paper's GFLOP",
)


class Found(NamedTuple):
    """One row on one task, in percent."""

    values: Sequence[float]  # one a seed
    step_seconds: float
    megabytes: float
    gflop: float
    parameters: int
    steps: int
    seconds: float  # one seed, training and evaluation


class Spread(NamedTuple):
    """The standard deviation over seeds, pooled over the rows that have several."""

    deviation: float
    freedom: int

    def margin(self, one: Found, other: Found) -> float | None:
        """How far two means lie apart by chance, at 95 %; None where nobody knows."""
        if not self.freedom:
            return None
        counts = math.sqrt(1 / len(one.values) + 1 / len(other.values))
        return float(student.ppf(0.975, self.freedom)) * self.deviation * counts


def read(path: Path) -> dict[str, dict[str, Found]]:
    """What was found, by task and row."""
    lines: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            lines[line["task"], line["row"]].append(line)
    found: dict[str, dict[str, Found]] = defaultdict(dict)
    for (task, row), own in lines.items():
        step, memory, gflop, seconds = (
            median(float(line[name]) for line in own)
            for name in ("step_seconds", "megabytes", "gflop", "seconds")
        )
        values = [100 * float(line["value"]) for line in own]
        counts = (int(own[0][name]) for name in ("parameters", "steps"))
        found[task][row] = Found(values, step, memory, gflop, *counts, seconds)
    if len({line["steps"] for own in lines.values() for line in own}) != 1:
        raise SystemExit(f"{path} holds no runs, or runs of different lengths: no fair comparison")
    return found


def pool(found: Iterable[Found]) -> Spread:
    """The spread of all rows that were run with several seeds."""
    several = [row.values for row in found if len(row.values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    squares = sum((len(values) - 1) * variance(values) for values in several)
    return Spread(math.sqrt(squares / freedom) if freedom else 0.0, freedom)


def judge(row: Row, task: str, found: Mapping[str, Found]) -> str:
    """Whether a difference has the paper's direction; equal to the reference is nobody's claim."""
    difference, paper, margin = compare(row, task, found)
    if mean(found[row.name].values) < LEARNT * mean(found[row.against].values):
        return "learnt nothing yet"
    if margin is None:
        return "one seed"
    if abs(difference) <= margin:
        return "unsure"
    return "same direction" if difference * paper > 0 else "other direction"


def rows_of(table: str, found: Mapping[str, Found]) -> list[Row]:
    """The rows of a table that were run, and whose reference was."""
    return [r for r in ROWS if table in r.tables and r.name in found and r.against in found]


def compare(row: Row, task: str, found: Mapping[str, Found]) -> tuple[float, float, float | None]:
    """Our difference from the row's reference, the paper's, and the margin of ours."""
    metric, own, other = SETTINGS[task].metric, found[row.name], found[row.against]
    reference = next(r for r in ROWS if r.name == row.against)
    paper = getattr(row.paper, metric) - getattr(reference.paper, metric)
    margin = pool(found.values()).margin(own, other)
    return mean(own.values) - mean(other.values), paper, margin


def describe(row: Row, table: str, task: str, found: Mapping[str, Found]) -> list[str]:
    """The cells of one line."""
    own = found[row.name]
    seeds = f" ({len(own.values)})" if len(own.values) > 1 else ""
    difference, paper, margin = compare(row, task, found)
    is_reference = row.name == "default" or (row.name, table) == ("FPN", "XI")
    told = f"{difference:+.1f}" + ("" if margin is None else f" ± {margin:.1f}")
    compared = [told, f"{paper:+.1f}", judge(row, task, found)]
    return [
        row.name,
        f"{mean(own.values):.1f}{seeds}",
        *(["", "", "reference"] if is_reference else compared),
        f"{own.step_seconds:.2f}",
        f"{own.megabytes:.0f}",
        f"{own.gflop:.1f}",
        f"{own.parameters / 1e6:.2f}",
        "" if row.paper.GFLOP is None else f"{row.paper.GFLOP:.0f}",
    ]


def write(found: Mapping[str, Mapping[str, Found]]) -> str:
    """The page."""
    some = next(row for rows in found.values() for row in rows.values())
    minutes = sum(row.seconds for rows in found.values() for row in rows.values()) / 60
    page = [INTRODUCTION.format(steps=some.steps, minutes=minutes)]
    for task, rows in found.items():
        spread = pool(rows.values())
        known = f"; spread over runs: {spread.deviation:.1f}" if spread.freedom else ""
        page.append(f"## {task.capitalize()}: {SETTINGS[task].metric} ({SOURCES[task]}){known}\n")
        page.append(f"{summarise(task, rows)}\n")
        for table, title in TABLES.items():
            if lines := [describe(row, table, task, rows) for row in rows_of(table, rows)]:
                page += [f"### Table {table}: {title}\n", *as_markdown(lines), ""]
    return "\n".join(page).rstrip() + "\n"


def summarise(task: str, found: Mapping[str, Found]) -> str:
    """Which of the paper's directions show, which do not, and of which nothing can be said."""
    told: dict[str, list[str]] = defaultdict(list)
    for row in ROWS:
        if row.name != row.against and {row.name, row.against} <= found.keys():
            told[judge(row, task, found)].append(row.name)
    return "\n".join(f"- {verdict}: {'; '.join(names)}" for verdict, names in sorted(told.items()))


def as_markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """A table."""
    table = [COLUMNS, ["---"] * len(COLUMNS), *lines]
    return [f"| {' | '.join(cells)} |" for cells in table]


def plot(found: Mapping[str, Mapping[str, Found]], path: Path) -> None:
    """Differences from the reference, ours and the paper's, a column a task."""
    names = [
        r.name for r in ROWS if r.name != r.against and any(r.name in f for f in found.values())
    ]
    figure = Figure(figsize=(4 + 3.5 * len(found), 1.2 + 0.28 * len(names)), layout="constrained")
    columns = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for axes, (task, rows) in zip(columns, found.items(), strict=True):
        chosen = [r for r in ROWS if r.name in names and {r.name, r.against} <= rows.keys()]
        places = [names.index(row.name) for row in chosen]
        ours, paper, margins = zip(*(compare(r, task, rows) for r in chosen), strict=True)
        bars = None if None in margins else margins
        axes.errorbar(ours, places, xerr=bars, fmt="o", color="#2f6fde", label="ours", capsize=2)
        axes.plot(paper, places, "D", color="#d9822b", mfc="none", label=f"paper, {SOURCES[task]}")
        axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=task, xlabel=f"difference of {SETTINGS[task].metric}, points")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    columns[0].invert_yaxis()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Write docs/ablations.md, .csv and .png."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, nargs="?", default=DOCS / "ablations.csv")
    parser.add_argument("--output", type=Path, default=DOCS, help="the folder")
    options = parser.parse_args()
    found = read(options.csv)
    kept = options.output / "ablations.csv"
    if kept.resolve() != options.csv.resolve():
        shutil.copyfile(options.csv, kept)
    (options.output / "ablations.md").write_text(write(found), encoding="utf-8")
    plot(found, options.output / "ablations.png")
    print(f"saved: {options.output}/ablations.md, ablations.csv, ablations.png")


if __name__ == "__main__":
    main()
