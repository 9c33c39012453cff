"""Which part of a data set trains, which validates, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mask2former.config import Data, Split
from mask2former.layouts.places import SplitWord

FOLD = (0, 5)
"""Without a validation split every fifth training picture, from the first, is held back."""


def say_splits(root: Path, splits: Mapping[SplitWord | None, Split]) -> tuple[Data, list[str]]:
    """The settings of a folder's splits; what belongs to none is for training."""
    train, val, test = (splits.get(word) for word in ("train", "val", "test"))
    train = train or splits.get(None)
    says = [
        f"{use}: {_where(split)}"
        for use, split in (("training", train), ("validation", val))
        if split is not None
    ]
    if test is not None:
        says.append(f"left alone, but for `evaluate --split test`: {_where(test)}")
    fold = None
    if train is None and val is None:
        train = test
        says = [f"training: {_where(test)}, the only split"] if test is not None else []
    if val is None:
        fold = FOLD
        says.append(
            f"validation: there is no split for it, so every {fold[1]}th training picture is held "
            f"back (data.fold={list(fold)})"
        )
    data = Data(
        root=root,
        train=train or Split(),
        val=val or Split(),
        test=test or Split(),
        fold=fold,
    )
    return data, says


def _where(split: Split) -> str:
    listed = "" if split.names is None else f", those in {split.names}"
    return f"{split.images} with {split.annotations}{listed}"
