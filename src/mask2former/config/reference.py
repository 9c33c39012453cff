"""What settings there are, and a tree of them written for people: read off the types themselves."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from textwrap import wrap
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel

from mask2former.config.base import Settings
from mask2former.config.tree import Config, dump_config

WIDTH = 100
"""Characters of a line that has a comment."""
WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true, false",
    "null": "null",
}
HIGHEST_TOLD = 255
"""Higher limits are there to catch slips of the keyboard."""


class Setting(NamedTuple):
    """One setting: the values it takes and its default in words, and what it means."""

    name: str
    allowed: str
    default: str
    meaning: str


class Branch(NamedTuple):
    """Settings below one dotted key; a key whose branch comes in variants has one for each."""

    key: str
    variant: str | None
    meaning: str
    settings: list[Setting]


def branches() -> Iterator[Branch]:
    """Every branch of the settings, those of a branch right after it."""
    schema = Config.model_json_schema()
    for name, field in schema["properties"].items():
        yield from _walk(name, field, schema["$defs"])


def write_recipe(config: Config) -> str:
    """A recipe (YAML) that gives `config`, with every setting in it and what each means."""
    return "\n".join(_lines(config, dump_config(config), 0)) + "\n"


def _walk(key: str, field: dict, known: dict[str, dict]) -> Iterator[Branch]:
    names = [option["$ref"].rpartition("/")[2] for option in _options(field) if "$ref" in option]
    for name in names:
        branch = known[name]
        fields = branch["properties"]
        variant = fields.get("kind", {}).get("const")
        settings = [
            Setting(
                name,
                _describe(field, known),
                _as_yaml(field["default"]) if "default" in field else "",
                field.get("description", ""),
            )
            for name, field in fields.items()
            if "const" not in field and not _is_branch(field)
        ]
        yield Branch(key, variant, branch["description"], settings)
        for name, field in fields.items():
            yield from _walk(f"{key}.{name}", field, known)


def _is_branch(field: dict) -> bool:
    """Whether a field holds a branch of settings, or one of its variants, and nothing else."""
    return all("$ref" in option for option in _options(field))


def _options(field: dict) -> list[dict]:
    return field.get("oneOf") or field.get("anyOf") or [field]


def _describe(field: dict, known: dict[str, dict]) -> str:
    """The values that a field takes, in words."""
    options = _options(field)
    if len(options) > 1:
        return " or ".join(dict.fromkeys(_describe(option, known) for option in options))
    match field:
        case {"$ref": name}:
            keys = ", ".join(known[name.rpartition("/")[2]]["properties"])
            return f"{{{keys}}}"
        case {"enum": words}:
            return ", ".join(map(_as_yaml, words))
        case {"type": "array", "prefixItems": [first, *_] as items}:
            return f"[{len(items)} x {_describe(first, known)}]"
        case {"type": "array", "items": item}:
            return f"[{_describe(item, known)}, ...]"
        case {"type": "object", "additionalProperties": value}:
            return f"{{name: {_describe(value, known)}, ...}}"
        case {"type": "string", "format": form}:
            return form
    word = field.get("const", field.get("type"))
    return WORDS.get(word, _as_yaml(word)) + _limits(field)


def _limits(field: dict) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum", inf))
    above = "above" if "exclusiveMinimum" in field else "from"
    below = "below" if "exclusiveMaximum" in field else "to"
    words = [f"{above} {low:g}"] if low is not None else []
    words += [f"{below} {high:g}"] if high <= HIGHEST_TOLD else []
    return "".join(f" {word}" for word in words)


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=2**16, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _lines(branch: BaseModel, tree: dict, depth: int) -> Iterator[str]:
    """The lines of a branch; `tree` holds its plain values."""
    indent = "  " * depth
    for name, field in type(branch).model_fields.items():
        value = getattr(branch, name)
        if isinstance(value, Settings):
            yield f"{indent}{name}:"
            yield from _lines(value, tree[name], depth + 1)
            continue
        line = f"{indent}{name}: {_as_yaml(tree[name])}"
        if field.description is None:
            yield line
        elif len(line) + len(field.description) + 4 <= WIDTH:
            yield f"{line}  # {field.description}"
        else:
            comment = wrap(field.description, WIDTH - len(indent) - 2, break_on_hyphens=False)
            yield from (f"{indent}# {part}" for part in comment)
            yield line
