"""Open both splits: all faults told where a check listens, or one sentence before training."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mask2former import config as c
from mask2former.build import choose_split
from mask2former.categories import Categories
from mask2former.data import Dataset
from mask2former.data.listener import Listener
from mask2former.open_data import build_dataset


class Splits(NamedTuple):
    """The data sets that could be opened."""

    train: Dataset | None
    val: Dataset | None

    def items(self) -> list[tuple[c.SplitName, Dataset]]:
        """Those that are there, by name."""
        pairs: list[tuple[c.SplitName, Dataset | None]] = [("train", self.train), ("val", self.val)]
        return [(name, dataset) for name, dataset in pairs if dataset is not None]


def open_splits(data: c.Data, task: c.Task, listener: Listener) -> Splits:
    """Open the training and the validation set; what cannot be opened at all is a fault."""
    train = _open(data, data.train, task, None, listener)
    val = train
    if data.fold is None:
        categories = None if train is None else train.categories
        val = _open(data, data.val, task, categories, listener)
    return Splits(
        None if train is None else choose_split(train, data, "train"),
        None if val is None else choose_split(val, data, "val"),
    )


def demand_trainable(data: c.Data, task: c.Task) -> tuple[Dataset, Dataset]:
    """The training and the validation set, if all annotations that need no pixels are right.

    Raises ValueError with the first fault and how many more there are.
    """
    listener = _Counting()
    train, val = open_splits(data, task, listener)
    if listener.first is not None:
        more = f"; there are {listener.more} more faults, and `mask2former check-data` lists them"
        raise ValueError(f"{listener.first}{more if listener.more else ''}") from listener.first
    assert train is not None, "what cannot be opened is a fault"
    assert val is not None, "what cannot be opened is a fault"
    listener.is_open = False
    return train, val


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


def _open(
    data: c.Data,
    source: c.Split,
    task: c.Task,
    categories: Categories | None,
    listener: Listener,
) -> Dataset | None:
    try:
        return build_dataset(data, source, task, categories=categories, listener=listener)
    except ValueError as error:
        listener.fault((data.root or Path()) / (source.annotations or ""), "", error)
        return None
