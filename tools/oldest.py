"""Print the oldest versions that pyproject.toml allows, one requirement a line, for pip.

Usage: python tools/oldest.py [EXTRA ...]
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
LOWER_BOUND = re.compile(r"(?P<name>[\w.-]+)\s*(?:>=|==)\s*(?P<version>[\d.]*\d)")


def pin(requirement: str) -> str:
    """`numpy>=2.0,<3` -> `numpy==2.0`; a requirement without a lower bound is a ValueError."""
    found = LOWER_BOUND.match(requirement)
    if found is None:
        raise ValueError(f"'{requirement}' has no lower bound; write one in {PROJECT.name}")
    return f"{found['name']}=={found['version']}"


def oldest(project: dict, extras: Iterable[str] = ()) -> list[str]:
    """The pins of a project's dependencies and of some of its extras."""
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [pin(requirement) for requirement in wanted]


if __name__ == "__main__":
    print(*oldest(tomllib.loads(PROJECT.read_text())["project"], sys.argv[1:]), sep="\n")
