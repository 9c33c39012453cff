"""One line at the foot of a terminal that tells how far a run is."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class LiveLine:
    """A bar with a text that is written over and over, below what is printed meanwhile.

    Only where a person looks: `shown` is false in a pipe, and nothing is drawn.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        self.shown = wanted and sys.stdout.isatty()
        columns = BarColumn(bar_width=16), TextColumn("{task.description}", markup=False)
        # Its own console: rich's shared one keeps the terminal that its first user found.
        self._progress = Progress(*columns, console=Console(), transient=True, auto_refresh=False)
        self._task = self._progress.add_task("")

    def __enter__(self) -> Self:
        if self.shown:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.shown:
            self._progress.stop()

    def show(self, done: int, total: int, text: str) -> None:
        """Write the line anew."""
        self._progress.update(self._task, completed=done, total=total, description=text)
        self._progress.refresh()
