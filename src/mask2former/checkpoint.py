"""A model on disk: our folder, enough to predict, evaluate and export, or other people's files."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mask2former.build import build_model
from mask2former.card import ModelCard, card_from_json, card_to_json
from mask2former.convert.foreign import read_foreign
from mask2former.convert.hub_folder import CONFIG_FILE, is_hub_folder
from mask2former.convert.read import read_tensors
from mask2former.faults import naming, shorten
from mask2former.files import read_json, to_json
from mask2former.model.mask2former import Mask2Former
from mask2former.runtime import is_exported
from mask2former.writing import replace_file, replace_text

WEIGHTS_FILE = "model.safetensors"

logger = logging.getLogger(__name__)


def save_model(
    folder: Path, model: Mask2Former, card: ModelCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model folder; floating-point weights are stored as `dtype`."""
    save_weights(folder, model.state_dict(), card, dtype)


def save_weights(
    folder: Path, state: dict[str, Tensor], card: ModelCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model folder of a network's state."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in state.items()
    }
    replace_file(folder / WEIGHTS_FILE, lambda path: save_file(weights, path))
    save_card(folder, card)


def save_card(folder: Path, card: ModelCard) -> None:
    """Write `config.json` alone."""
    replace_text(folder / CONFIG_FILE, to_json(card_to_json(card), indent=1))


def load_model(path: Path, recipe: str | None = None) -> tuple[Mask2Former, ModelCard]:
    """Read a model folder or other people's weights: the network, fp32, evaluating; and its card.

    Other people's are `read_foreign`'s; what it had to assume of them is logged as a warning, and
    `recipe` says otherwise. Raises ValueError with the file and the mend where something is missing
    or does not fit.
    """
    if is_exported(path):
        raise ValueError(
            f"{path} is an exported file, which predict, evaluate and benchmark take; name the "
            "model that it was made from"
        )
    if path.is_file() or is_hub_folder(path):
        weights, card, remarks = read_foreign(path, recipe)
        for remark in remarks:
            logger.warning(remark)
    else:
        if recipe is not None:
            raise ValueError(f"{path} has settings of its own; leave the recipe out")
        card = load_card(path)
        path = path / WEIGHTS_FILE
        if not path.is_file():
            raise ValueError(f"{path.parent} has no {WEIGHTS_FILE}; is the training finished?")
        weights = read_tensors(path).tensors
    try:
        model = build_model(card.config.model, len(card.categories))
    except ValueError as error:
        raise ValueError(naming(path, str(error))) from error
    load_weights(model, weights, path)
    return model.eval(), card


def load_card(folder: Path) -> ModelCard:
    """Read `config.json`."""
    path = folder / CONFIG_FILE
    if not path.exists():
        raise ValueError(f"{folder} is no model folder: it has no {CONFIG_FILE}")
    return card_from_json(read_json(path), str(path))


def load_weights(model: Mask2Former, weights: dict[str, Tensor], path: Path) -> None:
    """Load a state strictly; the error names what is missing, left over, or of another shape."""
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    reshaped = sorted(
        f"{name} {_form(weights[name])} for {_form(own[name])}"
        for name in own.keys() & weights.keys()
        if _form(own[name]) != _form(weights[name])
    )
    faults = {"missing": missing, "not known": unknown, "of another shape": reshaped}
    if any(faults.values()):
        said = "; ".join(
            f"{len(names)} {fault} ({_first(names)})" for fault, names in faults.items() if names
        )
        which = (
            f"its {CONFIG_FILE}" if path.name == WEIGHTS_FILE else "the network its shapes tell of"
        )
        raise ValueError(f"{path} does not fit {which}: {said}; is it whole and unchanged?")
    model.load_state_dict(weights)


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)}{'' if tensor.is_floating_point() else ' integers'}"


def _first(names: list[str]) -> str:
    return ", ".join(shorten(name, 150) for name in names[:3]) + (", ..." if len(names) > 3 else "")
