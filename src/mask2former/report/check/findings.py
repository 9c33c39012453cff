"""What a check finds: each finding with its severity, file, place and one sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from mask2former.data.listener import Listener

Severity = Literal["fault", "warning", "note"]
"""A fault must be mended before training; a warning should be looked at; a note is to know."""

KEPT = 200
"""Of findings that differ in names and numbers only so many are kept, the others counted."""

_NAMES_AND_NUMBERS = re.compile(r"\{.*?(?:\}|\.{3})|'[^']*'|\[[^\]]*\]|\S*[/\\]\S*|\d[\d.,]*")


class Finding(NamedTuple):
    """One thing that is wrong, odd, or to know."""

    severity: Severity
    file: str
    where: str  # annotation id, line or value; empty for the whole file
    sentence: str

    @property
    def kind(self) -> str:
        """The sentence without names and numbers: what findings that are alike share."""
        bare = self.sentence.replace(self.file, "") if self.file else self.sentence
        return f"{self.severity}: {_NAMES_AND_NUMBERS.sub('', bare)}"


class Findings(Listener):
    """All findings of a check, each once; it listens to the readers."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.skipped = 0
        self._alike: dict[str, list[Finding]] = {}
        self._more: Counter[str] = Counter()
        self._known: set[int] = set()

    def __iter__(self) -> Iterator[Finding]:
        """The findings that are kept, the gravest first, those that are alike together."""
        for severity in ("fault", "warning", "note"):
            for found in self._alike.values():
                yield from sorted(f for f in found if f.severity == severity)

    def alike(self) -> list[tuple[list[Finding], int]]:
        """Findings by kind, the gravest first, and how many more of each there are."""
        kinds = [(sorted(found), self._more[kind]) for kind, found in self._alike.items()]
        order = ["fault", "warning", "note"]
        return sorted(kinds, key=lambda kind: order.index(kind[0][0].severity))

    def fault(self, file: Path, where: str, error: ValueError) -> None:
        self.add("fault", file, where, str(error))

    def skip(self, file: Path, where: str, sentence: str) -> None:
        if self.add("warning", file, where, sentence):
            self.skipped += 1

    def add(self, severity: Severity, file: Path | str, where: str, sentence: str) -> bool:
        """Keep a finding; False if it was known."""
        finding = Finding(severity, str(file), where, sentence)
        if hash(finding) in self._known:
            return False
        self._known.add(hash(finding))
        self.counts[severity] += 1
        found = self._alike.setdefault(finding.kind, [])
        if len(found) < KEPT:
            found.append(finding)
        else:
            self._more[finding.kind] += 1
        return True
