"""What every annotated data set can do, and views of data sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torchvision import tv_tensors

from mask2former.categories import Categories
from mask2former.data.listener import STRICT, Listener
from mask2former.faults import shorten
from mask2former.files import read_image
from mask2former.structures import IGNORE, Sample, Truth


class Dataset(Protocol):
    """Annotated pictures of one format; nothing but file names and annotations is held."""

    categories: Categories
    notes: Sequence[str] = ()
    """What a person should know of annotations that are passed over, a sentence each."""
    is_labelled: bool = True
    """Whether there is any truth; a benchmark's validation set may keep it to its server."""
    varies: bool = False
    """Whether `sample` draws anew with every call, so that nobody may keep what it gave."""

    read: Callable[[str | Path], np.ndarray] = staticmethod(read_image)
    """What reads a picture's file: as 8-bit RGB, or with its own channels (`rasters.reader`)."""

    def __len__(self) -> int: ...

    def file(self, index: int) -> Path | str:
        """Where a picture comes from, to be named in messages."""
        ...

    def sample(self, index: int) -> Sample:
        """Picture and training targets; crowds are left out, pictures without objects are not."""
        ...

    def truth(self, index: int) -> Truth:
        """All that the annotation says of a picture, crowds included, at its original size."""
        ...

    def image_id(self, index: int) -> int | None:
        """The number by which its annotation calls a picture; None where there is none."""
        return None

    def image(self, index: int) -> np.ndarray:
        """The picture as `read` gives it, (H, W, C); a clip as (T, H, W, C)."""
        return self.read(self.file(index))

    def class_map(self, index: int) -> np.ndarray:
        """The class of every pixel, int16 (H, W), crowds included; IGNORE where nobody counts."""
        labels = self.truth(index).semantic
        if labels is None:
            raise ValueError(
                f"{self.file(index)}: its annotation tells objects, and no class of every pixel; "
                "set test.task=instance"
            )
        return labels

    def labels(self, index: int) -> list[int]:
        """The class of every region that a picture is annotated with, crowds left out."""
        truth = self.truth(index)
        if truth.instances is None and truth.semantic is not None:
            return [label for label in np.unique(truth.semantic).tolist() if label != IGNORE]
        regions = truth.segments or truth.instances or ()
        return [region.label for region in regions if not region.is_crowd]

    def select(self, indices: Iterable[int]) -> Dataset:
        """A view of some pictures, in the given order."""
        return Subset(self, indices)


class View(Dataset):
    """A data set seen another way; what a view does not change is the data set's own."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.categories = dataset.categories
        self.notes = dataset.notes
        self.is_labelled = dataset.is_labelled
        self.varies = dataset.varies

    def place(self, index: int) -> int:
        """Where a picture of the view is in the data set."""
        return index

    def __len__(self) -> int:
        return len(self.dataset)

    def file(self, index: int) -> Path | str:
        return self.dataset.file(self.place(index))

    def image_id(self, index: int) -> int | None:
        return self.dataset.image_id(self.place(index))

    def image(self, index: int) -> np.ndarray:
        return self.dataset.image(self.place(index))

    def sample(self, index: int) -> Sample:
        return self.dataset.sample(self.place(index))

    def truth(self, index: int) -> Truth:
        return self.dataset.truth(self.place(index))

    def class_map(self, index: int) -> np.ndarray:
        return self.dataset.class_map(self.place(index))

    def labels(self, index: int) -> list[int]:
        return self.dataset.labels(self.place(index))


class Subset(View):
    """Some pictures of a data set, for folds and for overfitting on a few."""

    def __init__(self, dataset: Dataset, indices: Iterable[int]) -> None:
        super().__init__(dataset)
        self.indices = tuple(indices)
        outside = [i for i in self.indices if not 0 <= i < len(dataset)]
        if outside:
            raise ValueError(f"picture numbers {outside[:5]} are not in 0..{len(dataset) - 1}")

    def place(self, index: int) -> int:
        return self.indices[index]

    def __len__(self) -> int:
        return len(self.indices)


class Cached(View):
    """A data set that keeps decoded samples in memory until `megabytes` are full, unless they vary.

    The first samples that fit stay: with shuffled epochs every sample comes equally often, so that
    throwing out old ones would only lower the share of hits. Each loader worker has its own cache.
    The tensors are shared between calls: nobody may write into them.
    """

    def __init__(self, dataset: Dataset, megabytes: float) -> None:
        super().__init__(dataset)
        self._room = int(megabytes * 2**20)
        self._samples: dict[int, Sample] = {}

    def sample(self, index: int) -> Sample:
        if index in self._samples:
            return self._samples[index].copy()
        sample = self.dataset.sample(index)
        size = sample["image"].nbytes + sample["ids"].nbytes
        if size <= self._room and not self.varies:
            self._room -= size
            self._samples[index] = sample.copy()
        return sample


def demand_labels(dataset: Dataset, annotations: Path) -> None:
    """Raise ValueError for a split whose truth its benchmark keeps to itself."""
    if not dataset.is_labelled:
        raise ValueError(
            f"{annotations} has no annotations, as the splits that benchmarks' servers measure; "
            "`evaluate --predictions FOLDER` writes what they take"
        )


def as_sample(
    frames: np.ndarray, ids: np.ndarray, labels: Sequence[int] | np.ndarray, name: str
) -> Sample:
    """Wrap frames (T, H, W, C) and id layers (L, T, H, W) as the transforms want them.

    Other numbers than bytes become float32, which can be resized.
    """
    assert frames.shape[:3] == ids.shape[1:], (frames.shape, ids.shape)
    frames = frames if frames.dtype == np.uint8 else frames.astype(np.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    layers = torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int32))
    return Sample(
        image=tv_tensors.Video(pixels),
        ids=tv_tensors.Mask(layers),
        labels=torch.as_tensor(labels, dtype=torch.int64),
        name=name,
    )


def check_files_exist(
    files: Iterable[Path], wanted_by: Path, listener: Listener = STRICT
) -> set[Path]:
    """Tell of every missing file, in a sentence that counts them and names three; return them."""
    # os.path answers False, where pathlib raises, for names that no file can have.
    missing = [file for file in files if not os.path.isfile(file)]  # noqa: PTH113
    for place, file in enumerate(missing):
        named = ", ".join(shorten(str(one), 120) for one in (missing[:3] if place == 0 else [file]))
        sentence = f"{wanted_by}: {len(missing)} of its files are missing: {named}"
        listener.fault(wanted_by, shorten(str(file), 200), ValueError(sentence))
    return set(missing)
