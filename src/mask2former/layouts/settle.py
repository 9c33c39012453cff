"""The settings of a run or an evaluation, with the layout of its data folder filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mask2former.config import (
    Config,
    Data,
    Split,
    SplitName,
    Task,
    dump_config,
    parse_config,
)
from mask2former.config.recipes import merge
from mask2former.data.class_files import CLASS_FILES
from mask2former.data.labelme import drawings_below
from mask2former.files import files_below, pictures_below
from mask2former.layouts.find import find_layout
from mask2former.layouts.found import Found
from mask2former.layouts.own import read_own_settings

PLACE = {
    "format",
    "root",
    "train",
    "val",
    "test",
    "classes",
    "ignore",
    "offset",
    "colors",
    "background",
    "endings",
    "merge",
    "ignore_classes",
    "separate",
    "fold",
}
"""The settings that a layout decides; the others are the recipe's, or the folder's own file's."""


def settle(
    config: Config, typed: Mapping[str, Any], *, wanted: Task | None = None
) -> tuple[Config, list[str]]:
    """The settings to train with, and what to say of the layout that was found.

    `typed` is the tree that a person spelt on the command line: it wins. Settings stay as they are
    where they name no folder, or where what they name is there.
    """
    if _is_settled(config.data, typed, ("train",) if config.data.fold else ("train", "val")):
        return _as_it_is(config, typed)
    wanted = typed.get("test", {}).get("task", wanted)
    found = _find_for(config, typed, wanted)
    if found.data.train.images is None:
        raise ValueError(
            f"{found.data.root}: {found.layout} with a validation split only, and none to train on"
        )
    filled = _fill(config, found.data, typed)
    test = filled.test.model_copy(update={"task": found.task})
    return filled.model_copy(update={"test": test}), _say(found)


def settle_evaluation(
    config: Config, typed: Mapping[str, Any], split: SplitName, *, wanted: Task
) -> tuple[Config, list[str]]:
    """The settings to evaluate a trained model with; where nothing is split, all is measured.

    Label maps without a list of classes are read with the model's own classes and values, and
    classes are joined and left out as they were in training.
    """
    _demand_data(config.data, typed, split)
    if _is_settled(config.data, typed, (split,)):
        return _as_it_is(config, typed)
    found = _find_for(config, typed, wanted)
    data, says = found.data, _say(found)
    explicit = typed.get("data", {})
    if split == "test":
        says = [sentence for sentence in says if not sentence.startswith("validation:")]
        if data.test == Split():
            raise ValueError(
                f"{data.root}: {found.layout} without a test split; choose --split val, or name "
                "data.test.images and data.test.annotations"
            )
    elif data.fold is not None and not {"fold", "val"} & explicit.keys():
        data = data.model_copy(update={"val": data.train, "fold": None})
        says = [sentence for sentence in says if not sentence.startswith("validation:")]
        says.append("there is no validation split, so all pictures are measured")
    if data.format == "object_maps":
        classes = data.classes if found.has_names or "classes" in explicit else None
        return _fill(config, data.model_copy(update={"classes": classes}), typed), says
    if data.format == "labelme" and not found.has_names and "classes" not in explicit:
        is_joined = bool(config.data.merge or config.data.ignore_classes)
        classes = None if isinstance(config.data.classes, str) else config.data.classes
        data = data.model_copy(update={"classes": classes if is_joined else None})
        says = [s for s in says if not s.startswith("the labels that occur")]
        says.append("there is no list of classes, so labels are the model's classes")
    elif not found.has_names and "classes" not in explicit:
        own = ("ignore", "offset", "colors", "background", "merge", "ignore_classes")
        kept = {key: getattr(config.data, key) for key in own}
        classes = None if isinstance(config.data.classes, str) else config.data.classes
        data = data.model_copy(update={**kept, "classes": classes})
        says = [*says[:1], "there is no list of classes, so values have the model's classes"]
    joined: dict[str, Any] = {}
    if "merge" not in explicit:
        joined["merge"] = data.merge or config.data.merge
    if "ignore_classes" not in explicit:
        joined["ignore_classes"] = data.ignore_classes or config.data.ignore_classes
    return _fill(config, data.model_copy(update=joined), typed), says


def _is_settled(data: Data, typed: Mapping[str, Any], splits: tuple[SplitName, ...]) -> bool:
    """Whether there is nothing to find: nobody named a folder, or all of the settings is in it."""
    if data.root is None or data.format == "shapes":
        return True
    if data.format is None:
        return False
    explicit = typed.get("data", {})
    is_named = "format" in explicit and any(
        "annotations" in explicit[word] for word in splits if isinstance(explicit.get(word), dict)
    )
    if is_named or "root" not in explicit or not data.root.is_dir():
        return True  # and what is missing is told by its reader
    if read_own_settings(data.root).keys() & PLACE:
        return False  # the folder says what is where
    used = [data.source(word) for word in splits]
    return (
        all(split.images and split.annotations for split in used)
        and all((data.root / path).exists() for path in _named_paths(data, used))
        and all(_fits(data, data.root / (split.annotations or "")) for split in used)
    )


def _demand_data(data: Data, typed: Mapping[str, Any], split: SplitName) -> None:
    """Raise ValueError where the data of the training is not here, and nobody names another."""
    named = typed.get("data", {}).keys()
    if "root" in named and data.root is not None and not data.root.is_dir():
        raise ValueError(f"{data.root}: there is no such data folder")
    annotations = data.source(split).annotations
    if data.format == "shapes" or annotations is None or named & {"root", "format", split, "train"}:
        return
    if not ((data.root or Path()) / annotations).exists():
        raise ValueError(
            f"the data that the model was trained on ({data.root or annotations}) is not here; "
            "name a data folder: evaluate MODEL FOLDER"
        )


def _fits(data: Data, annotations: Path) -> bool:
    """Whether a folder holds annotations of the format: many call theirs `labels/train`."""
    kind, ending = data.format, data.endings[1]
    if kind == "yolo":
        return any(file.suffix == ".txt" for file in files_below(annotations))
    if kind == "labelme":
        return next(iter(drawings_below(annotations).values()), None) is not None
    if kind in ("label_maps", "object_maps", "voc", "cityscapes"):
        maps = pictures_below(annotations)
        return any(f.stem.endswith(ending) or f.name.endswith(ending) for f in maps)
    return annotations.is_file()


def _named_paths(data: Data, splits: list[Split]) -> list[Path]:
    """The files and folders that settings name."""
    found = [path for s in splits for path in (s.images, s.annotations, s.labels, s.names)]
    lists = [path for path in (data.classes, data.colors) if isinstance(path, str | Path)]
    files = [Path(path) for path in lists if Path(path).suffix in CLASS_FILES]
    return [path for path in (*found, *files) if path is not None]


def _find(config: Config, typed: Mapping[str, Any], wanted: Task | None) -> Found:
    assert config.data.root is not None
    explicit = {
        key: v for key, v in typed.get("data", {}).items() if key in PLACE and key != "root"
    }
    return find_layout(config.data.root, wanted, explicit=explicit)


def _find_for(config: Config, typed: Mapping[str, Any], wanted: Task | None) -> Found:
    """What suits a recipe or a model: classes that it separates into objects are here too."""
    try:
        return _find(config, typed, wanted)
    except ValueError as error:
        explicit = typed.get("data", {})
        if not config.data.separate or "separate" in explicit:
            raise
        explicit = {**explicit, "separate": list(config.data.separate)}
        try:
            found = _find(config, {**typed, "data": explicit}, wanted)
        except ValueError:
            raise error from None
        said = f"connected regions of {', '.join(config.data.separate)} are objects"
        unsaid = [sentence for sentence in found.says if sentence != "as named: data.separate"]
        return replace(found, says=[*unsaid, said])


def _as_it_is(config: Config, typed: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Settings without anything to find, and what a folder that a person names adds to them."""
    root = config.data.root
    if root is None or "root" not in typed.get("data", {}):
        return config, []
    named = read_own_settings(root)
    if not named:
        return config, []
    says = [f"{root}: as named: {', '.join(f'data.{key}' for key in named)}"]
    return _fill(config, config.data, typed), says


def _fill(config: Config, data: Data, typed: Mapping[str, Any]) -> Config:
    """The settings with what a layout decides, its own defaults included.

    Of the others those hold that the folder's own file names, and above them what a person typed.
    """
    assert config.data.root is not None
    tree = dump_config(config)
    place = data.model_dump(mode="json")
    tree["data"] |= {key: place[key] for key in PLACE}
    for named in (read_own_settings(config.data.root), typed.get("data", {})):
        others = {key: value for key, value in named.items() if key not in PLACE}
        tree["data"] = merge(tree["data"], others)
    return parse_config(tree, str(data.root))


def _say(found: Found) -> list[str]:
    return [f"{found.data.root}: {found.layout}", *found.says]
