"""Semantic label maps: a folder of pictures and a folder of one-channel class numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from mask2former.categories import Categories, Color
from mask2former.data.chosen import choose_files
from mask2former.data.class_maps import number_classes
from mask2former.data.dataset import Dataset, as_sample
from mask2former.data.listener import STRICT, Listener
from mask2former.files import pictures_below, read_colors, read_label_map
from mask2former.structures import IGNORE, Sample, Truth

_UNKNOWN = IGNORE - 1


class LabelMaps(Dataset):
    """Two folders of files with the same names; a pixel's value is its category id.

    Values in `ignore` count for nobody. `offset` is added to the other values before they are
    looked up (ADE20K as downloaded: `ignore=(0,), offset=-1`). `endings` are cut off the names,
    before pictures and labels are paired (Cityscapes: `("_leftImg8bit", "_gtFine_labelIds")`, with
    or without the file type); files that lack theirs are passed over. `names` is a text file that
    names the pictures to take. With `colors`, class ids by colour, maps are pictures of colours
    (RGB, a palette or grey), and values, `ignore` and `offset` play no part.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        categories: Categories,
        *,
        ignore: Collection[int] = (255,),
        offset: int = 0,
        colors: Mapping[Color, int] | None = None,
        endings: tuple[str, str] = ("", ""),
        names: Path | None = None,
        listener: Listener = STRICT,
    ) -> None:
        self.categories = categories
        self._root = Path(images)
        self._pairs = pair_files(self._root, Path(labels), endings, names, listener=listener)
        self._colors = None if colors is None else _ColorTable(colors, categories)
        self._label_of_value = np.full(2**16, _UNKNOWN, np.int16)
        for category_id, label in categories.label_of.items():
            if 0 <= category_id - offset < 2**16:
                self._label_of_value[category_id - offset] = label
        self._label_of_value[[value for value in ignore if 0 <= value < 2**16]] = IGNORE

    def __len__(self) -> int:
        return len(self._pairs)

    def file(self, index: int) -> Path:
        return self._pairs[index][0]

    def map_file(self, index: int) -> Path:
        """Where the label map of a picture is."""
        return self._pairs[index][1]

    def name(self, index: int) -> str:
        """The path of a picture below its folder."""
        return self.file(index).relative_to(self._root).as_posix()

    def sample(self, index: int) -> Sample:
        image, labels = self.image(index), self.class_map(index)
        if image.shape[:2] != labels.shape:
            pair = " and ".join(str(file) for file in self._pairs[index])
            raise ValueError(f"{pair} are not of one size: {image.shape[:2]} and {labels.shape}")
        ids, present = number_classes(labels, len(self.categories))
        return as_sample(image[None], ids[None, None], present, self.name(index))

    def truth(self, index: int) -> Truth:
        labels = self.class_map(index)
        return Truth(labels.shape, semantic=labels)

    def class_map(self, index: int) -> np.ndarray:
        file = self.map_file(index)
        if self._colors is not None:
            return self._colors.read(file)
        values = read_label_map(file)
        labels = self._label_of_value[values]
        if labels.min(initial=0) == _UNKNOWN:
            strange = values[labels == _UNKNOWN][0]
            raise ValueError(f"{file}: the value {strange} is neither a category nor ignored")
        return labels


class _ColorTable:
    """Reads maps whose colours are classes."""

    def __init__(self, colors: Mapping[Color, int], categories: Categories) -> None:
        keys = np.array([red << 16 | green << 8 | blue for red, green, blue in colors], np.int32)
        labels = [categories.label_of.get(number, IGNORE) for number in colors.values()]
        order = np.argsort(keys)
        self._keys, self._labels = keys[order], np.array(labels, np.int16)[order]

    def read(self, file: Path) -> np.ndarray:
        """The labels of a map, int16 (H, W)."""
        red, green, blue = np.moveaxis(read_colors(file).astype(np.int32), -1, 0)
        keys = red << 16 | green << 8 | blue
        places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        strange = keys[self._keys[places] != keys]
        if strange.size:
            key = int(strange[0])
            color = [key >> 16, key >> 8 & 255, key & 255]
            raise ValueError(
                f"{file}: the colour {color} is of no class ({strange.size} pixels); name it in "
                "data.colors, and in data.ignore_classes if nobody counts it"
            )
        return self._labels[places]


def pair_files(
    images: Path,
    labels: Path,
    endings: tuple[str, str],
    names: Path | None = None,
    *,
    listener: Listener = STRICT,
) -> list[tuple[Path, Path]]:
    """Pair the files below two folders by their relative path without type and ending.

    Tells of pictures without a partner, in a sentence that counts them and names three.
    """
    pictures, maps = (
        files_by_name(folder, ending)
        for folder, ending in zip((images, labels), endings, strict=True)
    )
    if images == labels:
        taken = set(maps.values())
        pictures = {name: file for name, file in pictures.items() if file not in taken}
    if names is not None:
        pictures = choose_files(pictures, names)
    alone = sorted(pictures.keys() - maps.keys())
    for place, name in enumerate(alone):
        first = ", ".join(alone[place : place + 3])
        sentence = f"{labels}: no label map for {len(alone)} pictures of {images}: {first}"
        listener.fault(pictures[name], "", ValueError(sentence))
    if names is None:
        for name in sorted(maps.keys() - pictures.keys()):
            listener.skip(maps[name], "", f"{maps[name]}: no picture has its name; it is left out")
    order = sorted(pictures) if names is None else pictures
    return [(pictures[name], maps[name]) for name in order if name in maps]


def files_by_name(folder: Path, ending: str = "") -> dict[str, Path]:
    """The pictures below a folder whose names end so, by relative path without type and ending."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    files: dict[str, Path] = {}
    for file in sorted(pictures_below(folder)):
        end = ending.removesuffix(file.suffix)
        if file.stem.endswith(end):
            name = file.relative_to(folder).with_suffix("").as_posix().removesuffix(end)
            if name in files:
                raise ValueError(f"{folder}: {files[name].name} and {file.name} share one name")
            files[name] = file
    if not files:
        raise ValueError(f"{folder}: no picture found whose name ends in '{ending}'")
    return files
