"""Settings as plain trees, before they are checked: YAML recipes, `extends`, dotted overrides."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml

from mask2former.faults import excerpt, naming, shorten

DEFAULT_KIND = {"backbone": "timm", "pixel_decoder": "msdeformattn", "augmentation": "lsj"}
"""The branches that come in variants, and the variant of one that names no `kind`."""
MAPPINGS = frozenset({"merge", "colors", "class_weights"})
"""Values that are mappings, and no branches of settings: a new one replaces the old."""


def recipe_names() -> list[str]:
    """The bundled recipes; a name that starts with an underscore is only a base of others."""
    return sorted(name for name in _find_recipes() if not name.rpartition("/")[2].startswith("_"))


def backbone_presets() -> dict[str, dict]:
    """The words that stand for a backbone, and the branch of settings behind each."""
    path = resources.files("mask2former") / "recipes" / "_backbones.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _find_recipes() -> dict[str, Traversable]:
    root = resources.files("mask2former") / "recipes"
    found: dict[str, Traversable] = {}
    folders = [(root, "")]
    while folders:
        folder, prefix = folders.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                folders.append((entry, f"{prefix}{entry.name}/"))
            elif entry.name.endswith(".yaml"):
                found[prefix + entry.name.removesuffix(".yaml")] = entry
    return found


def read_recipe(recipe: str, above: tuple[str, ...] = ()) -> dict:
    """The tree of a recipe and all it extends; `above` are the recipes that extend this one."""
    if recipe in above:
        raise ValueError(f"{recipe}: the recipes extend each other in a circle")
    path = Path(recipe)
    source: Traversable | Path
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise ValueError(f"no recipe file {path}")
        source = path
    else:
        bundled = _find_recipes()
        if recipe not in bundled and (path.is_dir() or path.suffix == ".json"):
            run = path if path.is_dir() else path.parent
            raise ValueError(
                f"{recipe} is no recipe; `mask2former recipes {run} > mine.yaml` writes one with "
                "the settings of a run or model"
            )
        if recipe not in bundled:
            raise ValueError(
                f"no recipe '{recipe}'{nearest(recipe, bundled)}; "
                "`mask2former recipes` lists them, and a path to a .yaml file works too"
            )
        source = bundled[recipe]
    tree = _read_mapping(source, recipe)
    base = tree.pop("extends", None)
    try:
        spell_out_backbone(tree)
    except ValueError as error:
        raise ValueError(f"{recipe}: {error}") from None
    if base is None:
        return tree
    if base.endswith((".yaml", ".yml")):  # a neighbour of the file that names it
        base = str((path.parent / base).resolve())
    try:
        return merge(read_recipe(base, (*above, recipe)), tree)
    except ValueError as error:
        raise ValueError(naming(recipe, str(error))) from None


def _read_mapping(source: Traversable | Path, recipe: str) -> dict:
    """The YAML of one recipe, as it is written."""
    try:
        tree = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no text, no date, too deep
        reason = shorten(" ".join(str(error).split()), 200)
        raise ValueError(f"{recipe}: not a YAML file ({reason})") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{recipe}: a recipe is a mapping of settings")
    base = tree.get("extends")
    if base is not None and not (isinstance(base, str) and len(base) < 256):
        raise ValueError(f"{recipe}: 'extends' names one recipe, not {excerpt(base)}")
    return tree


def spell_out_backbone(tree: dict) -> None:
    """Put the branch that a preset's word stands for in its place."""
    match tree:
        case {"model": {"backbone": str() as word}}:
            known = backbone_presets()
            if word not in known:
                raise ValueError(
                    f"model.backbone: no preset is called '{word}'{nearest(word, known)}; there "
                    f"are {', '.join(known)}, and model.backbone.name takes any of timm's"
                )
            tree["model"]["backbone"] = known[word]


def merge(base: dict, change: dict) -> dict:
    """Lay one tree over another.

    A variant of another `kind` replaces the old branch whole, and so do a mapping that is a value
    and `{}`, the branch with its defaults.
    """
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        merged[key] = merge(old, value) if both and not _replaces(key, old, value) else value
    return merged


def _replaces(branch: str, old: dict, new: dict) -> bool:
    if not new or branch in MAPPINGS:
        return True
    if branch not in DEFAULT_KIND:
        return False
    kind = old.get("kind", DEFAULT_KIND[branch])
    return new.get("kind", kind) != kind


def read_overrides(overrides: Iterable[str]) -> dict:
    """The tree that dotted overrides spell; whole branches first, so that order does not matter."""
    tree: dict = {}
    for override in sorted(overrides, key=lambda override: override.partition("=")[0].count(".")):
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"'{override}' is no setting; write key=value, as in train.steps=100")
        *branches, leaf = key.strip().split(".")
        place = tree
        for branch in branches:
            place = place.setdefault(branch, {})
            if not isinstance(place, dict):
                raise ValueError(f"'{key}': '{branch}' is set to a value before")
        try:
            place[leaf] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(
                f"'{override}': the value is no YAML; quote text with : or ["
            ) from None
        spell_out_backbone(tree)
    return tree


def name_folder(folder: str | Path) -> str:
    """The override that names a data folder: quoted, as `2017` is no number."""
    return f"data.root={json.dumps(str(folder), ensure_ascii=False)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error sentence that offers the known word most like a mistaken one."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
