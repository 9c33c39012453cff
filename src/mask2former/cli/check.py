"""`mask2former check-data`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mask2former.cli.words import TaskName, as_setting, as_task, complain, say

SHOWN = 3
"""Of findings that are alike so many are printed; the page has more."""


def check_data(
    words: Annotated[
        list[str], typer.Argument(metavar="FOLDER", help="a data folder, and key=value settings")
    ],
    task: TaskName = None,
    recipe: Annotated[str, typer.Option(help="check what this recipe would train")] = "auto",
    output: Annotated[Path, typer.Option(help="the folder of the report")] = Path("data_report"),
    as_json: Annotated[
        bool, typer.Option("--json", help="print the findings as JSON, for programs")
    ] = False,
) -> None:
    """Find what is wrong with a data set before training; exit status 2 where there are faults."""
    from mask2former.report.check import check_data as check
    from mask2former.report.check import write_report
    from mask2former.report.run_folder import format_seconds
    from mask2former.writing import make_folder

    start = time.perf_counter()
    make_folder(output)
    tell = _be_silent if as_json else say
    settings = [as_setting(word) for word in words]
    settings += [f"test.task={name}"] if (name := as_task(task)) else []
    config = read_settings(recipe, settings, tell)
    checkup = check(config, show_progress)
    page = write_report(checkup, output)
    if as_json:
        print(json.dumps(checkup.to_json() | {"report": str(page)}, indent=1))
    else:
        print_findings(checkup)
        pictures = sum(tally.pictures for tally in checkup.tallies.values())
        print(f"{pictures} pictures in {format_seconds(time.perf_counter() - start)}")
        print(f"saved: {page}")
    if not checkup.is_sound:
        faults = checkup.findings.counts["fault"]
        complain(f"{faults} fault{'s' if faults > 1 else ''} in the data; mend what {page} names")
        raise typer.Exit(2)
    tell(f"next: `mask2former train {shlex.join([recipe, *settings])}`")


def read_settings(recipe: str, settings: list[str], tell: Callable[[str], None]) -> Any:
    """The settings with which training would read the data, as far as the data lets it plan."""
    from mask2former.config import load_config
    from mask2former.config.recipes import read_overrides
    from mask2former.engine.auto import RECIPE, find_data, prepare
    from mask2former.engine.device import choose_device
    from mask2former.layouts import settle

    config, typed = load_config(recipe, settings), read_overrides(settings)
    if recipe != RECIPE:
        config, found = settle(config, typed, wanted=config.test.task)
        for sentence in found:
            tell(f"data: {sentence}")
        return config
    config = find_data(config, typed, tell)
    try:
        return prepare(settings, choose_device("auto"), start_from=None, say=_be_silent)
    except ValueError:  # what is wrong with the data is for the check to tell
        return config


def print_findings(checkup: Any) -> None:
    """The findings, the gravest first, of each kind a few, and a line of counts."""
    for found, more in checkup.findings.alike():
        for finding in found[:SHOWN]:
            print(f"{finding.severity}: {finding.sentence}")
        rest = len(found[SHOWN:]) + more
        if rest:
            print(f"    ... and {rest} more like this")
    counts = checkup.findings.counts
    for name, tally in checkup.tallies.items():
        total = len(checkup.datasets[name])
        print(
            f"{name}: {tally.pictures} of {total} pictures can be used, {tally.objects.total()} "
            f"objects, {tally.bare} pictures without"
        )
    print(
        f"{counts['fault']} faults, {counts['warning']} warnings, {counts['note']} notes; "
        f"{checkup.findings.skipped} entries will be left out"
    )


def show_progress(split: str, done: int, count: int) -> None:
    """One line on a terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == count else ""
        print(f"\r{split}: {done}/{count}", end=end, file=sys.stderr, flush=True)


def _be_silent(line: str) -> None:
    pass
