"""A model folder: `config.json` and `model.safetensors`, enough to predict, evaluate and export."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mask2former.build import build_model
from mask2former.categories import Categories
from mask2former.config import FORMAT, Config, dump_config, parse_config
from mask2former.files import replace_file, replace_text, to_json, with_nan
from mask2former.model.mask2former import Mask2Former

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What a model folder says beside the weights."""

    config: Config
    categories: Categories
    licence: str = "not stated"
    metrics: dict[str, Any] = field(default_factory=dict)


def save_model(
    folder: Path, model: Mask2Former, card: ModelCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model folder; floating-point weights are stored as `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    replace_file(folder / WEIGHTS_FILE, lambda path: save_file(weights, path))
    save_card(folder, card)


def save_card(folder: Path, card: ModelCard) -> None:
    """Write `config.json` alone."""
    document = {
        "format": FORMAT,
        "licence": card.licence,
        "metrics": card.metrics,
        "categories": card.categories.to_json(),
        "config": dump_config(card.config),
    }
    replace_text(folder / CONFIG_FILE, to_json(document, indent=1))


def load_model(folder: Path) -> tuple[Mask2Former, ModelCard]:
    """Read a model folder: the network in fp32 and evaluation mode, and its card.

    Raises ValueError with the file and the mend where something is missing or does not fit.
    """
    card = load_card(folder)
    path = folder / WEIGHTS_FILE
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{folder} has no {WEIGHTS_FILE}; is the training finished?") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error})") from None
    model = build_model(card.config.model, len(card.categories))
    load_weights(model, weights, path)
    return model.eval(), card


def load_card(folder: Path) -> ModelCard:
    """Read `config.json`."""
    path = folder / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} is no model folder: it has no {CONFIG_FILE}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON file ({error})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path} is not of the format {FORMAT}, which this version reads")
    for key in ("config", "categories"):
        if key not in document:
            raise ValueError(f"{path} has no '{key}'; it was cut or edited by hand")
    return ModelCard(
        config=parse_config(document["config"], str(path)),
        categories=Categories.from_json(document["categories"]),
        licence=document.get("licence", "not stated"),
        metrics=with_nan(document.get("metrics", {})),
    )


def load_weights(model: Mask2Former, weights: dict[str, Tensor], path: Path) -> None:
    """Load a state strictly; the error names what is missing, left over, or of another shape."""
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    reshaped = sorted(
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    )
    faults = {"missing": missing, "not known": unknown, "of another shape": reshaped}
    if any(faults.values()):
        said = "; ".join(
            f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for fault, names in faults.items()
            if names
        )
        raise ValueError(f"{path} does not fit its {CONFIG_FILE}: {said}")
    model.load_state_dict(weights)
