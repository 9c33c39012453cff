"""What a recogniser answers: the settings of the data, or why the folder is of another layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mask2former.config import Data, Task

Explicit = Mapping[str, Any]
"""The `data` branch of settings as a person spelt it, a plain tree."""


def tasks_of_maps(separate: Sequence[str] | None) -> tuple[Task, ...]:
    """What maps of classes teach: objects too where connected regions are taken for them."""
    return ("panoptic", "semantic", "instance") if separate else ("semantic",)


@dataclass(frozen=True)
class Found:
    """A folder whose layout is known."""

    layout: str
    """In words, as `COCO instance JSON`."""
    data: Data
    """Where everything is and how it is read: `root` is set, augmentation and the like are not."""
    tasks: tuple[Task, ...]
    """What the annotations can teach, the default first."""
    says: list[str] = field(default_factory=list)
    """What was decided, a sentence each: splits, classes, ignored values, background."""
    wanted: Task | None = None
    has_names: bool = True
    """Whether the data names its classes; else they are `class_0` and so on."""

    @property
    def task(self) -> Task:
        """The wanted one of the tasks, or the default."""
        return self.wanted or self.tasks[0]


class NotThisError(Exception):
    """Why a folder is not of a layout; `near` where most of the layout is there."""

    def __init__(self, reason: str, *, near: bool = False) -> None:
        super().__init__(reason)
        self.near = near
