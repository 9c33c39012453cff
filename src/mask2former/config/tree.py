"""The one typed tree of settings, and how it is read and written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Self

from pydantic import ValidationError, model_validator

from mask2former.config.base import Settings
from mask2former.config.data import Data
from mask2former.config.faults import explain
from mask2former.config.inference import Test
from mask2former.config.model import Model, SampledQueries
from mask2former.config.recipes import merge, read_overrides, read_recipe
from mask2former.config.train import Loss, Train
from mask2former.faults import shorten

FORMAT = "mask2former/1"
"""What `config.json` calls its own form."""


class Config(Settings):
    """The whole tree, as a recipe gives it and `config.json` stores it."""

    model: Model = Model()
    loss: Loss = Loss()
    data: Data = Data()
    train: Train = Train()
    test: Test = Test()

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        decoder = self.model.transformer_decoder
        if self.model.placed_masks and not isinstance(decoder.queries, SampledQueries):
            raise ValueError(
                "model.placed_masks needs queries that stand somewhere; "
                "set model.transformer_decoder.queries={spacing: 16}"
            )
        if self.train.pilots is not None and isinstance(decoder.queries, SampledQueries):
            raise ValueError(
                "train.pilots are for queries that stand nowhere; sampled ones begin as the "
                "objects under them anyway, so leave it out"
            )
        if self.train.pilots is not None and self.train.sharded:
            raise ValueError("train.pilots cannot go with train.sharded; choose one of them")
        if decoder.layers == 0 and not self.loss.supervise_queries:
            raise ValueError("a decoder of 0 layers with loss.supervise_queries=false has no loss")
        if self.train.batch_size % self.train.accumulation:
            raise ValueError(
                f"train.batch_size={self.train.batch_size} cannot be cut into "
                f"train.accumulation={self.train.accumulation} equal micro-batches"
            )
        if self.model.value_range is not None and self.data.channels is None:
            raise ValueError(
                "model.value_range is for pictures of their own depth; set data.channels, 3 for RGB"
            )
        return self


def load_config(recipe: str, overrides: Iterable[str] = ()) -> Config:
    """Read a recipe (a bundled name such as `nuclei`, or a YAML path) and override dotted keys.

    Raises ValueError with the key and the nearest known one where something does not fit.
    """
    return parse_config(merge(read_recipe(recipe), read_overrides(overrides)), recipe)


def override_config(
    config: Config, overrides: Sequence[str], source: str = "the command line"
) -> Config:
    """Change dotted keys of a resolved tree; `source` names them in the error."""
    if not overrides:
        return config
    tree = merge(config.model_dump(mode="json"), read_overrides(overrides))
    return parse_config(tree, source)


def override_values(config: Config, values: dict[str, Any]) -> Config:
    """Change dotted keys of a resolved tree to values a program has found."""
    tree = config.model_dump(mode="json")
    for key, value in values.items():
        *branches, leaf = key.split(".")
        place = tree
        for branch in branches:
            place = place[branch]
        place[leaf] = value
    return parse_config(tree, ", ".join(values))


def parse_config(tree: dict, source: str) -> Config:
    """Validate a plain tree; `source` names it in the error."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"{source}: {shorten(explain(error, Config), 300)}") from None


def dump_config(config: Config) -> dict:
    """The tree as plain JSON values."""
    return json.loads(config.model_dump_json())
