"""Our own `data.yaml`: the `data` branch of the settings, which names what it likes explicitly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mask2former.config import Data, parse_config
from mask2former.config.recipes import merge
from mask2former.faults import shorten
from mask2former.layouts.yolo import is_yolo

NAMES = ("data.yaml", "data.yml")


def read_own_settings(root: Path) -> dict[str, Any]:
    """The settings of the `data.yaml` in a folder, {} where there is none or it is YOLO's.

    Raises ValueError with the nearest key where one is unknown.
    """
    path = next((root / name for name in NAMES if (root / name).is_file()), None)
    if path is None:
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a YAML file ({shorten(' '.join(str(error).split()))})"
        ) from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: must be a mapping of settings, as in format: coco")
    if is_yolo(tree):
        return {}
    parse_config({"data": tree}, str(path))
    if "root" in tree:
        tree["root"] = str(root / str(tree["root"]))
    return {key: value for key, value in tree.items() if key in Data.model_fields}


def with_own_settings(typed: dict[str, Any]) -> dict[str, Any]:
    """What a person typed, over what the `data.yaml` of the folder that they name says."""
    match typed:
        case {"data": {"root": root}} if Path(str(root)).is_dir():
            return merge({"data": read_own_settings(Path(str(root)))}, typed)
    return typed
