"""The settings of inference and evaluation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mask2former.categories import Task
from mask2former.config.base import Count, Settings, Share


class Tta(Settings):
    """Test-time augmentation: semantic scores are averaged over views of the picture."""

    scales: tuple[PositiveFloat, ...] = Field(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), min_length=1, description="of the short edge"
    )
    flips: Literal["none", "horizontal"] = Field(
        "horizontal", description="whether every scale is seen mirrored too"
    )


class Test(Settings):
    """Inference and evaluation."""

    task: Task = Field("instance", description="what is predicted and measured")
    short_edge: Count = Field(800, description="pictures are resized to it, in pixels")
    max_size: PositiveInt = Field(1333, description="of the long edge, in pixels")
    threshold: Share = Field(0.8, description="class score a panoptic segment needs")
    overlap_threshold: Share = Field(
        0.8, description="the part of its mask that others must leave a panoptic segment"
    )
    max_detections: PositiveInt = Field(100, description="instances of a picture, the best ones")
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
    boundary: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="measures boundary AP beside mask AP, of boundaries so wide as this part of "
        "the picture's diagonal: 0.02 on COCO (needs the extra `boundary`)",
    )
    tta: Tta | None = Field(None, description="for semantic maps; {} takes the paper's views")
    show_threshold: Share = Field(0.5, description="score an instance needs to be drawn or listed")

    @model_validator(mode="after")
    def _boundaries_are_measured_by_the_rules_of_coco(self) -> Self:
        if self.boundary is not None and self.ap != "coco":
            raise ValueError(
                f"boundary={self.boundary} is measured by COCO's rules only; set ap=coco, or leave "
                "boundary at null"
            )
        return self
