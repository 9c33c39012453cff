"""What is to be known of a model beside its weights, and how `config.json` says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mask2former.categories import Categories
from mask2former.config import FORMAT, Config, dump_config, parse_config
from mask2former.files import with_nan


@dataclass(frozen=True)
class ModelCard:
    """What a model folder says beside the weights."""

    config: Config
    categories: Categories
    licence: str = "not stated"
    metrics: dict[str, Any] = field(default_factory=dict)


def card_to_json(card: ModelCard) -> dict:
    """The document of `config.json`."""
    return {
        "format": FORMAT,
        "licence": card.licence,
        "metrics": card.metrics,
        "categories": card.categories.to_json(),
        "config": dump_config(card.config),
    }


def card_from_json(document: Any, source: str) -> ModelCard:
    """Read the document of `config.json`; `source` names it where it is not what it should be."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{source} is not of the format {FORMAT}, which this version reads")
    for key in ("config", "categories"):
        if key not in document:
            raise ValueError(f"{source} has no '{key}'; it was cut or edited by hand")
    try:
        categories = Categories.from_json(document["categories"])
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return ModelCard(
        config=parse_config(document["config"], source),
        categories=categories,
        licence=document.get("licence", "not stated"),
        metrics=with_nan(document.get("metrics", {})),
    )
