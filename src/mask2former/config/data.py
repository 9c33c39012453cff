"""The settings of the data and of its augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, Tag, model_validator

from mask2former.config.base import Count, Settings, kind_of

Format = Literal["coco", "coco_panoptic", "cityscapes", "label_maps", "youtube_vis", "shapes"]
SplitName = Literal["train", "val"]


class LargeScaleJitter(Settings):
    """Flip, resize by a factor of a fixed size, crop to it (COCO recipes)."""

    kind: Literal["lsj"] = "lsj"
    size: Count = 1024
    scale: tuple[PositiveFloat, PositiveFloat] = (0.1, 2.0)
    flips: Literal["none", "horizontal", "both", "turns"] = "horizontal"

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale={list(self.scale)} must be [smallest, largest]")
        return self


class ResizeAndCrop(Settings):
    """Resize the short edge to one of a few lengths, crop, jitter the colours (scene recipes)."""

    kind: Literal["crop"] = "crop"
    short_edges: tuple[Count, ...] = Field(min_length=1)
    max_size: PositiveInt = 100_000
    crop: tuple[Count, Count] | None = Field(description="height and width; null: whole pictures")
    color: bool = True
    flips: Literal["none", "horizontal", "both", "turns"] = "horizontal"


class Fit(Settings):
    """No augmentation: resize into a box, pad to it."""

    kind: Literal["fit"] = "fit"
    size: tuple[Count, Count]


Augmentation = Annotated[
    Annotated[LargeScaleJitter, Tag("lsj")]
    | Annotated[ResizeAndCrop, Tag("crop")]
    | Annotated[Fit, Tag("fit")],
    kind_of("augmentation"),
]


class Split(Settings):
    """Where the pictures and the annotations of one split are."""

    images: Path | None = None
    annotations: Path | None = None
    labels: Path | None = Field(
        None, description="folder of panoptic PNG files, if not the annotations' name without .json"
    )


class Clip(Settings):
    """A training clip: frames drawn around a random one of a video, in the order of time."""

    frames: int = Field(2, ge=1)
    reach: int = Field(20, ge=0, description="how far from the first drawn frame, in frames")


class Data(Settings):
    """The data set and what is done to it."""

    format: Format | None = None
    root: Path | None = Field(None, description="relative paths of the splits start here")
    train: Split = Split()
    val: Split = Split()
    classes: Path | str | None = Field(None, description="JSON list of classes, or a bundled name")
    ignore: tuple[int, ...] = Field((255,), description="values of label maps that nobody counts")
    offset: int = Field(0, description="added to the other values of label maps")
    endings: tuple[str, str] = Field(
        ("", ""), description="what the names of pictures and label maps end in, each its own"
    )
    augmentation: Augmentation = LargeScaleJitter()
    clip: Clip | None = Field(None, description="train on clips of videos")
    fold: tuple[int, int] | None = Field(
        None,
        description="(k, n): validate on every n-th training picture from k, train on the rest",
    )
    first: PositiveInt | None = Field(
        None, description="use only the first pictures of each split, in its order"
    )
    workers: int = Field(2, ge=0)
    cache_mb: int = Field(2000, ge=0)

    @model_validator(mode="after")
    def _fold_is_one_of_several(self) -> Self:
        if self.fold is not None and not 0 <= self.fold[0] < self.fold[1] > 1:
            raise ValueError(f"fold={list(self.fold)} must be [k, n] with 0 <= k < n and n > 1")
        return self

    @model_validator(mode="after")
    def _clips_are_of_videos(self) -> Self:
        if self.clip is not None and self.format not in ("youtube_vis", "shapes"):
            raise ValueError("clip is for videos: the format must be youtube_vis (or shapes)")
        return self
