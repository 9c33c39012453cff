"""Ask a data set all questions, in the order of what they cost."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mask2former.build import open_splits
from mask2former.categories import Categories
from mask2former.config import Config, SplitName
from mask2former.data import Dataset
from mask2former.report.check.annotations import check_files, check_segments
from mask2former.report.check.copies import Copy, find_copies
from mask2former.report.check.findings import Findings
from mask2former.report.check.look import Seen, look_at_all
from mask2former.report.check.rules import (
    check_classes,
    check_copies,
    check_counts,
    check_one_class,
    check_sizes,
)
from mask2former.report.check.tally import Tally

SHOWN_FAULTS = 6
"""Of so many pictures that cannot be trained on the numbers are kept, to be drawn."""


@dataclass
class Checkup:
    """What was found in a data set."""

    config: Config
    findings: Findings = field(default_factory=Findings)
    datasets: dict[SplitName, Dataset] = field(default_factory=dict)
    tallies: dict[SplitName, Tally] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    faulty: list[tuple[SplitName, int]] = field(default_factory=list)

    @property
    def categories(self) -> Categories | None:
        """The classes, in the order of the network's outputs; None where no split could be read."""
        return next((dataset.categories for dataset in self.datasets.values()), None)

    @property
    def is_sound(self) -> bool:
        """Whether nothing must be mended."""
        return not self.findings.counts["fault"]

    def to_json(self) -> dict[str, object]:
        """All of it as plain values."""
        findings, categories = self.findings, self.categories
        return {
            "sound": self.is_sound,
            "faults": findings.counts["fault"],
            "warnings": findings.counts["warning"],
            "notes": findings.counts["note"],
            "skipped": findings.skipped,
            "findings": [finding._asdict() for finding in findings],
            "splits": {
                name: tally.to_json(categories)
                for name, tally in self.tallies.items()
                if categories is not None
            },
        }


def check_data(
    config: Config, show: Callable[[SplitName, int, int], None] = lambda split, done, count: None
) -> Checkup:
    """Find all that is wrong with the data of the settings; `show` hears how far it is.

    Pictures are read one by one and forgotten; of each some numbers are kept.
    """
    checkup = Checkup(config)
    findings, data = checkup.findings, config.data
    checkup.datasets = open_splits(data, config.test.task, findings)
    for split in dict.fromkeys((data.source("train"), data.source("val"))):
        check_files(data, split, findings)
    seen = {name: _look(checkup, name, show) for name in checkup.datasets}
    for name, dataset in checkup.datasets.items():
        for note in dataset.notes:
            findings.add("note", "", name, note)
    check_counts(config, checkup.tallies.get("train", Tally()), findings)
    check_sizes(config, checkup.tallies.get("train", Tally()), findings)
    if checkup.categories is not None:
        check_classes(checkup.categories, checkup.tallies, findings)
        train = checkup.tallies.get("train", Tally())
        check_one_class(config, checkup.categories, train, findings)
    checkup.copies = check_copies(find_copies(seen), checkup.datasets, findings)
    return checkup


def _look(
    checkup: Checkup, name: SplitName, show: Callable[[SplitName, int, int], None]
) -> list[Seen]:
    """Look at all pictures of a split, and count what they hold."""
    dataset, findings, config = checkup.datasets[name], checkup.findings, checkup.config
    tally = checkup.tallies[name] = Tally()
    if not dataset.is_labelled:
        sentence = "has no annotations, as a benchmark's own split; nothing is measured on it"
        findings.add("note", "", name, f"{name} {sentence}")
        return []
    count, kept = len(dataset), []
    if not count:
        findings.add("fault", "", name, f"{name} has no picture that could be used")
    source = config.data.source(name)
    path = (config.data.root or Path()) / (source.annotations or "")
    threads = max(2, min(8, os.cpu_count() or 2))
    for index, seen in look_at_all(
        dataset, findings, threads, lambda done: show(name, done, count)
    ):
        if seen is None:
            if len(checkup.faulty) < SHOWN_FAULTS:
                checkup.faulty.append((name, index))
            continue
        tally.add(seen, config)
        kept.append(seen.forget())
        if config.data.format == "coco_panoptic":
            check_segments(dataset, index, path, findings)
    return kept
