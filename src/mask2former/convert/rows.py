"""Names of tensors as tables: one row per kind of tensor, read in both directions.

In a row's names `{i}` stands for a number, `{i+1}` for the number after it, and `{x}` for any rest.
The first row that fits a name serves it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from mask2former.faults import excerpt

PLACE = re.compile(r"\{(\w)(?:\+(\d+))?\}")
ESCAPED_PLACE = re.compile(r"\\\{(\w)(?:\\\+\d+)?\\\}")
THIRDS = ("query", "key", "value")
WHOLE = "whole"

Operation = Literal["copy", "drop", "query", "key", "value", "unfolded"]
"""A copy, nothing, a third of a packed projection, or channels in the order of `nn.Unfold`."""


@dataclass(frozen=True)
class Row:
    """Their name, our name, and what is done."""

    theirs: str
    ours: str
    operation: Operation = "copy"

    def rename(self, name: str) -> str | None:
        """Our name of their tensor, or None where the row is not about it."""
        values = _read(self.theirs, name)
        return None if values is None else _fill(self.ours, values)

    def rename_back(self, name: str) -> str | None:
        """Their name of our tensor, or None where the row is not about it."""
        values = None if self.operation == "drop" else _read(self.ours, name)
        return None if values is None else _fill(self.theirs, values)


def under(theirs: str, ours: str, rows: Iterable[Row]) -> list[Row]:
    """Rows whose names begin with a prefix."""
    return [Row(theirs + row.theirs, ours + row.ours, row.operation) for row in rows]


def to_ours(tensors: Mapping[str, Tensor], table: Sequence[Row], *, source: str) -> dict:
    """Give every tensor of theirs our name and form; `source` names the origin in messages.

    Raises ValueError where a tensor has no row, two have one name, or a projection lacks a third.
    """
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    unknown = []
    for name, tensor in tensors.items():
        rows = ((row.operation, ours) for row in table if (ours := row.rename(name)) is not None)
        operation, ours = next(rows, ("unknown", ""))
        if operation == "unknown":
            unknown.append(name)
        elif operation != "drop":
            part = operation if operation in THIRDS else WHOLE
            if part in parts[ours]:
                raise ValueError(f"{source} has '{ours}' twice, also as {excerpt(name)}")
            parts[ours][part] = from_unfolded(tensor) if operation == "unfolded" else tensor
    if unknown:
        raise ValueError(
            f"{len(unknown)} tensors of {source} belong to no known part of a Mask2Former: "
            f"{', '.join(map(excerpt, unknown[:3]))}; is its backbone a ResNet or Swin?"
        )
    return {ours: _join(found, ours, source) for ours, found in parts.items()}


def to_theirs(tensors: Mapping[str, Tensor], table: Sequence[Row]) -> dict[str, Tensor]:
    """Give every tensor of ours their name and form; of several names they have, the first."""
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        names: dict[str, str] = {}
        for row in table:
            theirs = row.rename_back(name)
            if theirs is not None:
                names.setdefault(row.operation, theirs)
        assert names, f"no row of the table is about our '{name}'"
        match next(iter(names)):
            case "copy":
                converted[names["copy"]] = tensor
            case "unfolded":
                converted[names["unfolded"]] = to_unfolded(tensor)
            case _:
                for third, part in zip(THIRDS, tensor.chunk(3), strict=True):
                    converted[names[third]] = part.contiguous()
    return converted


def from_unfolded(tensor: Tensor) -> Tensor:
    """Patch merging's last axis from `nn.Unfold`'s order (channel, row, column) to Swin's.

    Swin's own is (column, row, channel), the last running fastest.
    """
    return tensor.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)


def to_unfolded(tensor: Tensor) -> Tensor:
    """The way back of `from_unfolded`."""
    return tensor.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3)


def _join(parts: Mapping[str, Tensor], ours: str, source: str) -> Tensor:
    """A tensor of one part, or of three."""
    if WHOLE in parts:
        return parts[WHOLE]
    lacking = [part for part in THIRDS if part not in parts]
    if lacking:
        raise ValueError(f"{source} lacks the {' and '.join(lacking)} projection of '{ours}'")
    return torch.cat([parts[part] for part in THIRDS])


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(
        ESCAPED_PLACE.sub(
            lambda place: "(?P<x>.+)" if place[1] == "x" else rf"(?P<{place[1]}>\d+)",
            re.escape(template),
        )
    )


def _read(template: str, name: str) -> dict[str, str | int] | None:
    found = _pattern(template).fullmatch(name)
    if found is None:
        return None
    offsets = dict(PLACE.findall(template))
    return {
        place: text if place == "x" else int(text) - int(offsets[place] or 0)
        for place, text in found.groupdict().items()
    }


def _fill(template: str, values: Mapping[str, str | int]) -> str:
    return PLACE.sub(
        lambda place: str(int(values[place[1]]) + int(place[2]) if place[2] else values[place[1]]),
        template,
    )
