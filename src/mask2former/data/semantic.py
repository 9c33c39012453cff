"""Semantic label maps: a folder of pictures and a folder of one-channel class numbers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from mask2former.categories import Categories
from mask2former.data.dataset import Dataset, as_sample
from mask2former.files import PICTURE_SUFFIXES, read_label_map
from mask2former.structures import IGNORE, Sample, Truth

_UNKNOWN = IGNORE - 1


class LabelMaps(Dataset):
    """Two folders of files with the same names; a pixel's value is its category id.

    Values in `ignore` count for nobody. `offset` is added to the other values before they are
    looked up (ADE20K as downloaded: `ignore=(0,), offset=-1`). `endings` are cut off the names,
    before pictures and labels are paired (Cityscapes: `("_leftImg8bit", "_gtFine_labelIds")`, with
    or without the file type); files that lack theirs are passed over.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        categories: Categories,
        *,
        ignore: Collection[int] = (255,),
        offset: int = 0,
        endings: tuple[str, str] = ("", ""),
    ) -> None:
        self.categories = categories
        self._root = Path(images)
        self._pairs = pair_files(self._root, Path(labels), endings)
        self._label_of_value = np.full(2**16, _UNKNOWN, np.int16)
        for category_id, label in categories.label_of.items():
            if 0 <= category_id - offset < 2**16:
                self._label_of_value[category_id - offset] = label
        self._label_of_value[[value for value in ignore if 0 <= value < 2**16]] = IGNORE

    def __len__(self) -> int:
        return len(self._pairs)

    def file(self, index: int) -> Path:
        return self._pairs[index][0]

    def sample(self, index: int) -> Sample:
        image, labels = self.image(index), self._read_labels(index)
        if image.shape[:2] != labels.shape:
            pair = " and ".join(str(file) for file in self._pairs[index])
            raise ValueError(f"{pair} are not of one size: {image.shape[:2]} and {labels.shape}")
        counts = np.bincount(labels.ravel() + 1, minlength=len(self.categories) + 1)
        present = np.flatnonzero(counts[1:])
        id_of_label = np.zeros(len(self.categories) + 1, np.int32)  # the last is for IGNORE, -1
        id_of_label[present] = np.arange(1, len(present) + 1)
        name = self.file(index).relative_to(self._root).as_posix()
        return as_sample(image[None], id_of_label[labels][None, None], present, name)

    def truth(self, index: int) -> Truth:
        labels = self._read_labels(index)
        return Truth(labels.shape, semantic=labels)

    def _read_labels(self, index: int) -> np.ndarray:
        """Read a label map as labels, int16 (H, W), IGNORE where nobody counts."""
        file = self._pairs[index][1]
        values = read_label_map(file)
        labels = self._label_of_value[values]
        if labels.min(initial=0) == _UNKNOWN:
            strange = values[labels == _UNKNOWN][0]
            raise ValueError(f"{file}: the value {strange} is neither a category nor ignored")
        return labels


def pair_files(images: Path, labels: Path, endings: tuple[str, str]) -> list[tuple[Path, Path]]:
    """Pair the files below two folders by their relative path without type and ending.

    Raises ValueError that names the first pictures without a partner.
    """
    pictures, maps = (
        _files_by_name(folder, ending)
        for folder, ending in zip((images, labels), endings, strict=True)
    )
    alone = sorted(pictures.keys() - maps.keys())
    if alone:
        first = ", ".join(alone[:3])
        raise ValueError(f"{labels}: no label map for {len(alone)} pictures of {images}: {first}")
    return [(pictures[name], maps[name]) for name in sorted(pictures)]


def _files_by_name(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        end = ending.removesuffix(file.suffix)
        if file.suffix.lower() in PICTURE_SUFFIXES and file.stem.endswith(end):
            name = file.relative_to(folder).with_suffix("").as_posix().removesuffix(end)
            if name in files:
                raise ValueError(f"{folder}: {files[name].name} and {file.name} share one name")
            files[name] = file
    if not files:
        raise ValueError(f"{folder}: no picture found whose name ends in '{ending}'")
    return files
