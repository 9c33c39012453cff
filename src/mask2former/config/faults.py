"""What is wrong with a tree of settings, in one sentence that names the dotted key."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError

from mask2former.config.recipes import nearest
from mask2former.faults import excerpt

OTHER_WORDS = {
    "train.epochs": "train.steps counts batches: pictures / train.batch_size of them are an epoch",
    "train.lr": "the learning rate is train.learning_rate",
    "train.optimizer": "the optimiser is always AdamW",
    "train.imgsz": "sizes stand in data.augmentation and test.short_edge",
    "train.amp": "half precision is train.precision=bf16 or fp16",
    "train.device": "the device is chosen by --device",
    "train.output": "the run folder is chosen by --output",
    "model.num_classes": "the classes are the data's",
    "data.num_classes": "the classes are the data's",
    "data.path": "the folder is data.root",
    "test.conf": "scores are test.show_threshold for objects, test.threshold for panoptic maps",
}
"""What other programs call their settings, and what takes their place here."""


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """One sentence of pydantic's report on a `root`, with the nearest key where one is unknown."""
    first = error.errors()[0]
    where, siblings = _locate(first["loc"], root)
    match first["type"]:
        case "extra_forbidden":
            branch, _, word = where.rpartition(".")
            meant = OTHER_WORDS.get(f"{branch}.{word}")
            end = nearest(word, siblings) if meant is None else f"; {meant}"
            return f"unknown setting '{where}'{end}"
        case "union_tag_invalid":
            known = first["ctx"]["expected_tags"]
            return f"{where}: there is no kind '{first['ctx']['tag']}'; choose {known}"
        case "union_tag_not_found" | "model_type" | "model_attributes_type":
            value = excerpt(first["input"])
            return f"{where}: {value} is no branch of settings; set {where}.KEY=... instead"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _locate(location: tuple[int | str, ...], root: type[BaseModel]) -> tuple[str, list[str]]:
    """The dotted key of pydantic's location, which unions leave marks in, and the keys beside."""
    keys: list[str] = []
    beside: list[str] = []
    here: Any = root
    for part in location:
        variants = _variants(here)
        if part in variants:
            here = variants[part]
            continue
        fields = getattr(here, "model_fields", {})
        if fields or isinstance(part, int):
            keys.append(str(part))
            beside = list(fields)
        here = _without_null(fields[part].annotation) if part in fields else None
    return ".".join(keys), beside


def _without_null(annotation: Any) -> Any:
    """The branch of settings that an annotation allows beside null."""
    branches = (m for m in get_args(annotation) if isinstance(m, type) and issubclass(m, BaseModel))
    return next(branches, annotation)


def _variants(union: Any) -> dict[Any, Any]:
    """The members of a union by the tags that tell them apart."""
    return {
        note.tag: member.__origin__
        for member in get_args(union)
        for note in getattr(member, "__metadata__", ())
        if isinstance(note, Tag)
    }
