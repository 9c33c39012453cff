"""What every branch of the settings is, and the numbers that many of them hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field

from mask2former.config.recipes import DEFAULT_KIND

Count = Annotated[int, Field(ge=1, le=2**16)]
"""Channels, heads, pixels of a side; more than these are a slip of the keyboard."""
Depth = Annotated[int, Field(ge=1, le=2**8)]
"""Layers, one after the other."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, a score."""


class Settings(BaseModel):
    """A frozen branch of the tree; unknown keys, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def kind_of(branch: str) -> Discriminator:
    """Tell the variants of a branch apart by `kind`."""

    def read(value: Any) -> str | None:
        if isinstance(value, dict):
            return str(value.get("kind", DEFAULT_KIND[branch]))
        return getattr(value, "kind", None)

    return Discriminator(read)
