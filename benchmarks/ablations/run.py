"""Train the rows of the paper's ablations on small data, as `mask2former train` does it.

Every row has the same data, steps and seed, and differs in its settings alone. Each is a line of
the CSV file as soon as it is done; rows that stand there are not run again. With the defaults a
row takes two minutes of one core, the costly ones four. `report.py` draws what was found.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NamedTuple

from cost import Cost, measure
from mask2former.checkpoint import load_card
from mask2former.config import load_config
from rows import ROWS, SETTINGS, Row, Setting

FIELDS = ("task", "row", "seed", "steps", "metric", "value", "seconds", *Cost._fields)


class Run(NamedTuple):
    """One training."""

    task: str
    row: Row
    seed: int
    steps: int

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others in the CSV file."""
        return self.task, self.row.name, str(self.seed), str(self.steps)


def settings_of(setting: Setting, run: Run, data: Path) -> list[str]:
    """The dotted settings beside the recipe's."""
    return [
        f"data.root={data}",
        "data.workers=0",
        "train.threads=1",
        "train.trackers=[]",
        "train.batch_size=4",
        f"train.seed={run.seed}",
        f"train.steps={run.steps}",
        f"train.schedule={{kind: cosine, warmup: {run.steps // 10}}}",
        f"train.evaluate_every={run.steps}",
        f"train.save_every={run.steps}",
        *setting.changes,
        *run.row.changes,
    ]


def train(setting: Setting, settings: list[str]) -> float:
    """The figure of a run of its own, in a folder that goes when it is read."""
    with tempfile.TemporaryDirectory(prefix="ablation_") as folder:
        command = [sys.executable, "-m", "mask2former", "train", setting.recipe, *settings]
        command += ["--output", folder, "--device", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{done.stdout[-500:]}{done.stderr[-2000:]}")
        return load_card(Path(folder)).metrics["validation"][setting.metric]


def complete(run: Run, data: Path) -> dict[str, object]:
    """Train, measure, and give the line of the CSV file."""
    setting, start = SETTINGS[run.task], time.perf_counter()
    settings = settings_of(setting, run, data)
    value = train(setting, settings)
    seconds = time.perf_counter() - start
    cost = measure(load_config(setting.recipe, settings), setting.classes)
    known = (*run.key, setting.metric, round(value, 5), round(seconds, 1))
    costs = (round(cost.step_seconds, 4), round(cost.megabytes, 1), round(cost.gflop, 3))
    return dict(zip(FIELDS, (*known, *costs, cost.parameters), strict=True))


def read_done(path: Path) -> set[tuple[str, ...]]:
    """The keys of the runs that stand in the CSV file."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {tuple(line[name] for name in FIELDS[:4]) for line in csv.DictReader(file)}


def add(path: Path, line: dict[str, object]) -> None:
    """Write one more line."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if is_new:
            writer.writeheader()
        writer.writerow(line)


def read_options() -> Namespace:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    for task, setting in SETTINGS.items():
        text = f"data folder for {setting.recipe}'s layout; {setting.metric} is compared"
        parser.add_argument(f"--{task}", type=Path, metavar="FOLDER", help=text)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument(
        "--seeds", type=int, default=1, help="all rows with seed 0, then with 1, .."
    )
    parser.add_argument("--csv", type=Path, default=Path("ablations.csv"))
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these, by name")
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="only theirs: 4a 4c 5 Xa ..")
    options = parser.parse_args()
    if not any(getattr(options, task) for task in SETTINGS):
        parser.error(f"which data? give one or more of {', '.join(f'--{t}' for t in SETTINGS)}")
    unknown = set(options.rows or ()) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no row {unknown}; there are: {', '.join(row.name for row in ROWS)}")
    return options


def choose(options: Namespace) -> list[Run]:
    """What is asked for, in order: every row with one seed before the next seed."""
    rows = [
        row
        for row in ROWS
        if (not options.rows or row.name in options.rows)
        and (not options.tables or set(row.tables) & set(options.tables))
    ]
    tasks = [task for task in SETTINGS if getattr(options, task)]
    return [
        Run(task, row, seed, options.steps)
        for seed in range(options.seeds)
        for task in tasks
        for row in rows
    ]


def main() -> None:
    """Run what is missing; a row that fails is told, and the others go on."""
    options = read_options()
    failed = []
    runs = [run for run in choose(options) if run.key not in read_done(options.csv)]
    for place, run in enumerate(runs, start=1):
        label = f"{place}/{len(runs)}  {run.task}, seed {run.seed}: {run.row.name}"
        try:
            line = complete(run, getattr(options, run.task))
        except (RuntimeError, ValueError) as error:
            failed.append(run.row.name)
            print(f"{label}: failed\n{error}", file=sys.stderr, flush=True)
            continue
        add(options.csv, line)
        print(f"{label}  {line['metric']} {line['value']}  {line['seconds']} s", flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
