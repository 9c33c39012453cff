"""Find a model by the name a person gives: a path, a bundled, a published or a Hub name."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from mask2former.categories import Categories
from mask2former.checkpoint import CONFIG_FILE, load_card
from mask2former.config import Task
from mask2former.config.recipes import nearest
from mask2former.published import Published, find_published, published_models
from mask2former.published.download import download
from mask2former.runtime import is_exported

FOLDER_VARIABLE = "MASK2FORMER_MODELS"
HUB_FILES = ("*.json", "README.md", "*.safetensors")
OWN_FILES = {".pkl", ".pth", ".onnx", ".xml"}
"""Endings of files that are a model of their own, also inside a model folder."""
HUB_FOLDERS = "*/*"
"""Where repositories keep checkpoints of the training; the patterns above match there too."""
OLD_HUB_FILES = ("pytorch_model*.bin",)
"""The weights of Hub repositories that have no safetensors."""


def bundled_models() -> dict[str, Path]:
    """The models inside the package, by name."""
    root = Path(str(resources.files("mask2former"))) / "models"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{CONFIG_FILE}"))}


def models_folder() -> Path:
    """Where official files are looked for, with all folders below, and downloaded to."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(FOLDER_VARIABLE) or cache / "mask2former")


class Listed(NamedTuple):
    """What is told of a model before it is loaded."""

    name: str
    task: Task
    classes: int
    figures: dict[str, float]  # in percent: measured (bundled) or as published
    licence: str
    parameters: int | None = None
    gflops: int | None = None
    url: str | None = None  # None: bundled
    hub: str | None = None


def list_models(words: Sequence[str] = (), task: Task | None = None) -> list[Listed]:
    """The bundled and the published models of a task whose name or task has every word."""
    rows = [row for row in published_models() if row.matches(words)]
    published = (
        Listed(
            row.name,
            row.task,
            len(Categories.bundled(row.classes)),
            row.figures,
            row.licence,
            row.parameters,
            row.gflops,
            row.url,
            row.hub.id if row.hub else None,
        )
        for row in rows
    )
    bundled = (_list_bundled(name, folder) for name, folder in bundled_models().items())
    found = [m for m in bundled if all(w.lower() in f"{m.name} {m.task}" for w in words)]
    return [model for model in [*found, *published] if task in (None, model.task)]


def _list_bundled(name: str, folder: Path) -> Listed:
    card = load_card(folder)
    measured = list(card.metrics.get("validation", {}).items())[:2]
    figures = {figure: round(100 * value, 1) for figure, value in measured}
    return Listed(name, card.config.test.task, len(card.categories), figures, card.licence)


def find_model(name: str) -> Path:
    """The folder or file of a model: a path that exists > bundled > published name > Hub id.

    A folder that holds no model, such as pictures of the same name, hides no other. Published
    weights and Hub repositories are downloaded once. A file inside a model folder stands for its
    folder. Raises ValueError where nothing fits.
    """
    path = Path(name)
    if path.is_file() or is_model_folder(path):
        inside = path.is_file() and (path.parent / CONFIG_FILE).is_file()
        return path.parent if inside and path.suffix not in OWN_FILES else path
    bundled = bundled_models()
    if name in bundled:
        return bundled[name]
    row = find_published(name)
    if row is not None and (row.hub is None or name != row.hub.id):
        return _official_file(row)
    if path.exists():
        return path  # whoever opens it says what it lacks
    if name.count("/") == 1:
        return _hub_folder(name)
    raise ValueError(
        f"no model '{name}'{_similar(name)}: it is no existing path, no name that "
        "`mask2former models` lists, and no Hub id (owner/name)"
    )


def is_model_folder(path: Path) -> bool:
    """Whether a folder looks like a model's: of this package, of Hugging Face, or exported."""
    return (path / CONFIG_FILE).is_file() or is_exported(path)


def _similar(name: str) -> str:
    """The end of a sentence that offers the name most like a mistaken one."""
    rows = published_models()
    official = [word for row in rows for word in (row.name, row.file)]
    return nearest(name, [*bundled_models(), *official, *(row.hub.id for row in rows if row.hub)])


def _official_file(row: Published) -> Path:
    """The official file from the models' folder, downloaded if it is not there."""
    folder = models_folder()
    found = next(folder.rglob(row.file), None)
    return found or download(row.url, folder / row.file, md5=row.digest, show=_show_progress)


def _show_progress(done: int, total: int) -> None:
    """One line on a terminal that counts up."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\rdownloading {done >> 20}/{total >> 20} MB", end=end, file=sys.stderr, flush=True)


def _hub_folder(hub_id: str) -> Path:
    """Fetch a repository's model from the Hub, or take it from the cache."""
    try:
        folder = _fetch(hub_id, HUB_FILES)
        if not any(folder.glob("*.safetensors")):
            folder = _fetch(hub_id, HUB_FILES + OLD_HUB_FILES)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"no model '{hub_id}'{_similar(hub_id)}: no such path, and the Hub did not give it "
            f"({reason})"
        ) from None
    return folder


def _fetch(hub_id: str, files: Sequence[str]) -> Path:
    return Path(snapshot_download(hub_id, allow_patterns=[*files], ignore_patterns=[HUB_FOLDERS]))
