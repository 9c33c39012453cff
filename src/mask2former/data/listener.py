"""Who hears what is wrong with annotations: readers tell, and the listener decides what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Listener(Protocol):
    """Hears of every fault a reader finds. Where `fault` returns, the reader leaves out the faulty
    entry and goes on with the next: so one code path both trains and tells all that is wrong."""

    def fault(self, file: Path, where: str, error: ValueError) -> None:
        """An entry (`where`: annotation 7, say) of a file is wrong."""
        ...

    def skip(self, file: Path, where: str, sentence: str) -> None:
        """An entry is passed over, and training goes on without it."""
        ...


class Strict:
    """Ends at the first fault: nobody trains on annotations that are wrong."""

    def fault(self, file: Path, where: str, error: ValueError) -> None:
        raise error

    def skip(self, file: Path, where: str, sentence: str) -> None:
        pass


STRICT = Strict()
