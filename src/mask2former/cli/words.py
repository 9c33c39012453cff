"""What commands read from a person, and what they tell."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, get_args

import typer

from mask2former.config import SplitName, Task

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
TestSettings = Annotated[
    list[str] | None, typer.Argument(help="test.* settings, such as test.short_edge=640")
]
SETTING = re.compile(r"\w+(\.\w+)+=")
TaskName = Annotated[str | None, typer.Option(help="semantic, instance or panoptic")]


def as_size(text: str) -> tuple[int, int]:
    """Read the height and width of a picture."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise ValueError(f"--size {text}: write height x width in pixels, as 800x1333")
    return int(height), int(width)


def as_task(name: str | None) -> Task | None:
    """Check a task's name."""
    known = get_args(Task)
    if name is not None and name not in known:
        raise ValueError(f"no task '{name}'; choose {', '.join(known)}")
    return name  # pyrefly: ignore[bad-return]


def as_split(name: str) -> SplitName:
    """Check a split's name."""
    known = get_args(SplitName)
    if name not in known:
        raise ValueError(f"no split '{name}'; choose {' or '.join(known)}")
    return name  # pyrefly: ignore[bad-return]


def part_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell settings (`test.short_edge=640`) from the files and folders that they stand among."""
    settings = [w for w in words if SETTING.match(w) and not os.path.exists(w)]  # noqa: PTH110
    return [word for word in words if word not in settings], settings


def as_settings(words: Sequence[str]) -> list[str]:
    """Read the words of `evaluate`: a data folder, and settings that leave the model as it is."""
    settings = [as_setting(word) for word in words]
    for setting in settings:
        if not setting.startswith(("data.", "test.")):
            raise ValueError(f"'{setting}': only data.* and test.* can be set to evaluate a model")
    return settings


def as_setting(word: str) -> str:
    """A setting as it is, a folder as the setting that names it; what is neither for a folder."""
    from mask2former.config.recipes import name_folder

    return word if "=" in word and not is_folder(word) else name_folder(word)


def is_folder(word: str) -> bool:
    """Whether a folder is there; where a setting is too long to name one, pathlib would raise."""
    return os.path.isdir(word)  # noqa: PTH112


def say(line: str) -> None:
    """Print at once, also into a pipe; of several processes (torchrun) the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(line, flush=True)


def complain(sentence: str) -> None:
    """One line on stderr."""
    print(f"mask2former: {' '.join(sentence.splitlines())}", file=sys.stderr)


def ticker(count: int) -> Any:
    """Shows on a terminal how many pictures are done."""
    if not sys.stderr.isatty():
        return lambda done: None

    def show(done: int) -> None:
        print(f"\r{done}/{count}", end="\n" if done == count else "", file=sys.stderr, flush=True)

    return show


def wide_console() -> Any:
    """A console that cuts no table in a pipe, where nobody tells the width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 1000)
