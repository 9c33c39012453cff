"""How good the results are, by the official rules of each task."""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self

from mask2former.categories import Categories
from mask2former.metrics.average_precision import CLIP_SIDES, AveragePrecision
from mask2former.metrics.boundary import BoundaryAP
from mask2former.metrics.cityscapes import CityscapesAP
from mask2former.metrics.confusion import Confusion
from mask2former.metrics.inspection import Inspection
from mask2former.metrics.mean_iou import MeanIoU
from mask2former.metrics.panoptic_quality import PanopticQuality
from mask2former.structures import Truth

__all__ = [
    "AveragePrecision",
    "BoundaryAP",
    "CityscapesAP",
    "Confusion",
    "Inspection",
    "MeanIoU",
    "Metric",
    "PanopticQuality",
    "for_task",
]


class Metric(Protocol):
    """What every metric can do. The truth of a clip is that of its frames, side by side."""

    @property
    def protocol(self) -> str:
        """The rules it follows, in one sentence to print beside the figures."""
        ...

    def update(self, prediction: Any, truth: Truth) -> None:
        """Count one picture or clip."""
        ...

    def merge(self, other: Self) -> None:
        """Add what another process has counted."""
        ...

    def compute(self) -> dict[str, float]:
        """The figures as fractions, the headline first; NaN where there was nothing to measure."""
        ...

    def per_class(self) -> list[dict[str, Any]]:
        """One row a class: its `name` and its figures."""
        ...


def for_task(
    task: Literal["semantic", "instance", "panoptic"],
    categories: Categories,
    max_detections: int = 100,
    *,
    shard: tuple[int, int] = (0, 1),
    rules: Literal["coco", "cityscapes", "youtube_vis"] = "coco",
    boundary: float | None = None,
) -> Metric:
    """The metric a task is measured with; `shard` is (rank, number of processes).

    `rules` are those of average precision; `boundary` asks for boundary AP too, of boundaries so
    wide, as a part of the picture's diagonal.
    """
    match task:
        case "semantic":
            return MeanIoU(categories)
        case "instance" if rules == "cityscapes":
            return CityscapesAP(categories)
        case "instance" if rules == "youtube_vis":
            return AveragePrecision(categories, max_detections, sides=CLIP_SIDES, shard=shard)
        case "instance" if boundary is not None:
            return BoundaryAP(categories, max_detections, width=boundary, shard=shard)
        case "instance":
            return AveragePrecision(categories, max_detections, shard=shard)
        case "panoptic":
            return PanopticQuality(categories)
    raise ValueError(f"no task '{task}'; there are: semantic, instance, panoptic")
