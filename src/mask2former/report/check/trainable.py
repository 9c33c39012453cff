"""What training demands of the data: no fault in all that can be told without pixels."""

from __future__ import annotations

from pathlib import Path

from mask2former import config as c
from mask2former.build import open_splits
from mask2former.data import Dataset
from mask2former.data.listener import Listener


def demand_trainable(data: c.Data, task: c.Task) -> tuple[Dataset, Dataset]:
    """The training and the validation set, if all annotations that need no pixels are right.

    Raises ValueError with the first fault and how many more there are.
    """
    listener = _Counting()
    found = open_splits(data, task, listener)
    if listener.first is not None:
        more = f"; there are {listener.more} more faults, and `mask2former check-data` lists them"
        raise ValueError(f"{listener.first}{more if listener.more else ''}") from listener.first
    listener.is_open = False
    if not found["train"].is_labelled:
        raise ValueError(
            f"{data.train.annotations} has no annotations, so there is nothing to learn from it"
        )
    return found["train"], found["val"]


class _Counting(Listener):
    """Counts faults while data sets are opened, and is strict from then on."""

    def __init__(self) -> None:
        self.is_open = True
        self.first: ValueError | None = None
        self.more = 0

    def fault(self, file: Path, where: str, error: ValueError) -> None:
        if not self.is_open:
            raise error
        self.more += self.first is not None
        self.first = self.first or error

    def skip(self, file: Path, where: str, sentence: str) -> None:
        pass
