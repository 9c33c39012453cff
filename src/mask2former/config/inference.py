"""The settings of inference and evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from mask2former.categories import Task
from mask2former.config.base import Count, Settings, Share


class Tta(Settings):
    """Test-time augmentation: semantic scores are averaged over views of the picture."""

    scales: tuple[PositiveFloat, ...] = Field(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), min_length=1, description="of the short edge"
    )
    flips: Literal["none", "horizontal"] = "horizontal"


class Test(Settings):
    """Inference and evaluation."""

    task: Task = "instance"
    short_edge: Count = 800
    max_size: PositiveInt = 1333
    threshold: Share = Field(0.8, description="class score a panoptic segment needs")
    overlap_threshold: Share = 0.8
    max_detections: PositiveInt = 100
    suppress: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="instances that overlap a better one of their class by more than this IoU are "
        "left out; null, as in the paper: none are",
    )
    ap: Literal["coco", "cityscapes", "youtube_vis"] = Field(
        "coco", description="whose average precision"
    )
    tta: Tta | None = Field(None, description="for semantic maps; {} takes the paper's views")
    show_threshold: Share = Field(0.5, description="score an instance needs to be drawn or listed")
