"""The official test settings of a model's data set, and what was published with them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mask2former.categories import Categories
from mask2former.config import Config, Task, Test, load_config
from mask2former.published import Published, find_published, published_at, published_models

MEASURED_BY: dict[str, Task] = {"PQ": "panoptic", "AP": "instance", "mIoU": "semantic"}


class Protocol(NamedTuple):
    """How a published row was measured. A panoptic model has figures of all three tasks."""

    row: Published
    test: Test
    same: tuple[Published, ...]
    """The rows that the model may be of; none where its network was not published."""

    @property
    def name(self) -> str:
        """The rows whose settings these are, `coco/panoptic/swin_b or coco/panoptic/swin_b_22k`."""
        return " or ".join(row.name for row in self.same or [self.row])

    @property
    def tasks(self) -> list[Task]:
        """What was measured, the row's own task first."""
        measured = {task for figure, task in MEASURED_BY.items() if figure in self.row.figures}
        return sorted(measured, key=lambda task: (task != self.row.task, task))

    def published(self, task: Task) -> dict[str, str]:
        """The published figures of one task in percent, `55.1 or 56.4` if they may be of two."""
        return {
            figure: " or ".join(f"{row.figures[figure]:.1f}" for row in self.same)
            for figure in self.row.figures
            if self.same and MEASURED_BY.get(figure) == task
        }


def official_protocol(model: str, config: Config, categories: Categories) -> Protocol:
    """The protocol of the published row that `model` names, or else of the rows most like it.

    Alike are rows of the same task and classes, best with the same network; without the classes a
    name says nothing. Raises ValueError where nothing was published for them.
    """
    row = find_published(model) or published_at(Path(model))
    if row is not None and _has_classes(row, categories):
        return Protocol(row, load_config(row.name).test, (row,))
    task = config.test.task
    rows = [r for r in published_models() if r.task == task and _has_classes(r, categories)]
    if not rows:
        raise ValueError(
            f"nothing was published for {task} segmentation into the classes "
            f"{', '.join(categories.names[:5])}, ...; leave --protocol out"
        )
    network = _without_start(config)
    same = tuple(row for row in rows if _without_start(load_config(row.name)) == network)
    row = same[0] if same else rows[0]
    return Protocol(row, load_config(row.name).test, same)


def _has_classes(row: Published, categories: Categories) -> bool:
    return Categories.bundled(row.classes).names == categories.names


def _without_start(config: Config) -> dict:
    """The network alone, whatever weights its training started from (timm: after a dot)."""
    network = config.model.model_dump(exclude={"backbone": {"weights"}})
    if config.model.backbone.kind == "timm":
        network["backbone"]["name"] = config.model.backbone.name.partition(".")[0]
    return network
