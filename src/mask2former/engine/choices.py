"""Settings that are chosen one by one, each with its reason, around what a person has typed."""

from __future__ import annotations

from typing import Any

from mask2former.config import Config, dump_config
from mask2former.config.recipes import merge


class Choices:
    """Settings that are chosen one after another; what a person has typed stays."""

    def __init__(self, config: Config, typed: dict) -> None:
        self.tree: dict = dump_config(config)
        self.typed = typed
        self.reasons: list[str] = []

    def choose(self, key: str, value: Any, why: str = "") -> None:
        """Set a dotted key; without a reason it goes along with the last choice."""
        *branches, leaf = key.split(".")
        place, typed = self.tree, self.typed
        for branch in branches:
            place, typed = place[branch], typed.get(branch, {})
        told = {leaf: typed[leaf]} if leaf in typed else {}
        place[leaf] = merge({leaf: value}, told)[leaf]
        if told and not isinstance(value, dict):
            self.reasons.append(f"{key}={_say(place[leaf])}: as you say")
        elif why:
            self.reasons.append(f"{key}={_say(value)}: {why}")

    def __getitem__(self, key: str) -> Any:
        place: Any = self.tree
        for part in key.split("."):
            place = place[part]
        return place


def _say(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
