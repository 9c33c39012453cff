"""The official test settings of a model's data set, and what was published with them."""

from __future__ import annotations

from typing import NamedTuple

from mask2former.categories import Categories
from mask2former.config import Config, Task, Test, load_config
from mask2former.published import Published, find_published, published_models

MEASURED_BY: dict[str, Task] = {"PQ": "panoptic", "AP": "instance", "mIoU": "semantic"}


class Protocol(NamedTuple):
    """How a published row was measured. A panoptic model has figures of all three tasks."""

    row: Published
    test: Test

    @property
    def tasks(self) -> list[Task]:
        """What was measured, the row's own task first."""
        measured = {task for figure, task in MEASURED_BY.items() if figure in self.row.figures}
        return sorted(measured, key=lambda task: (task != self.row.task, task))

    def published(self, task: Task) -> dict[str, float]:
        """The published figures of one task."""
        return {
            figure: value
            for figure, value in self.row.figures.items()
            if MEASURED_BY.get(figure) == task
        }


def official_protocol(model: str, config: Config, categories: Categories) -> Protocol:
    """The protocol of the published row that `model` names, or else of the row most like it.

    Alike are rows of the same task and classes, best with the same network. Raises ValueError where
    nothing was published for them.
    """
    row = find_published(model) or _most_like(config, categories)
    return Protocol(row, load_config(row.name).test)


def _most_like(config: Config, categories: Categories) -> Published:
    task = config.test.task
    rows = [
        row
        for row in published_models()
        if row.task == task and Categories.bundled(row.classes).names == categories.names
    ]
    if not rows:
        raise ValueError(
            f"nothing was published for {task} segmentation into the classes "
            f"{', '.join(categories.names[:5])}, ...; leave --protocol out"
        )
    network = _without_start(config)
    return next((row for row in rows if _without_start(load_config(row.name)) == network), rows[0])


def _without_start(config: Config) -> dict:
    """The network alone, whatever weights its training started from."""
    return config.model.model_dump(exclude={"backbone": {"weights"}})
