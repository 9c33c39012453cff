"""The settings of the data and of its augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from mask2former.config.base import Count, Settings, kind_of
from mask2former.faults import excerpt

Format = Literal[
    "coco",
    "coco_panoptic",
    "yolo",
    "labelme",
    "label_maps",
    "object_maps",
    "voc",
    "cityscapes",
    "youtube_vis",
    "shapes",
]
OBJECT_FORMATS: tuple[Format, ...] = ("coco", "yolo", "labelme", "object_maps")
"""Annotations of objects alone, which a map of classes is painted from where one is wanted."""
SplitName = Literal["train", "val", "test"]
Flips = Annotated[
    Literal["none", "horizontal", "both", "turns"],
    Field(description="mirrored left and right, up and down too, or all eight positions"),
]
Level = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Level, Level, Level]


class LargeScaleJitter(Settings):
    """Flip, resize by a factor of a fixed size, crop to it (COCO recipes)."""

    kind: Literal["lsj"] = "lsj"
    size: Count = Field(1024, description="side of the square that pictures are cut to")
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.1, 2.0), description="smallest and largest factor, of a picture that fits the square"
    )
    flips: Flips = "horizontal"

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale={list(self.scale)} must be [smallest, largest]")
        return self


class ResizeAndCrop(Settings):
    """Resize the short edge to one of a few lengths, crop, jitter the colours (scene recipes)."""

    kind: Literal["crop"] = "crop"
    short_edges: tuple[Count, ...] = Field(
        min_length=1, description="one of these lengths is drawn"
    )
    max_size: PositiveInt = Field(100_000, description="of the long edge")
    crop: tuple[Count, Count] | None = Field(description="height and width; null: whole pictures")
    color: Annotated[
        bool | Literal["strong"],
        Field(
            description="jitter the colours; strong: also gamma, grey, blur, noise, light and "
            "texture, for other cameras and places than those of the training pictures"
        ),
    ] = True
    flips: Flips = "horizontal"


class Fit(Settings):
    """No augmentation: resize into a box, pad to it."""

    kind: Literal["fit"] = "fit"
    size: tuple[Count, Count] = Field(description="height and width")


Augmentation = Annotated[
    Annotated[LargeScaleJitter, Tag("lsj")]
    | Annotated[ResizeAndCrop, Tag("crop")]
    | Annotated[Fit, Tag("fit")],
    kind_of("augmentation"),
]


class Split(Settings):
    """Where the pictures and the annotations of one split are."""

    images: Path | None = Field(None, description="folder of the pictures")
    annotations: Path | None = Field(
        None, description="JSON file, or folder of label maps, text files or labelme's JSON files"
    )
    labels: Path | None = Field(
        None,
        description="folder of panoptic PNG files, if not the annotations' name without .json; "
        "of a VOC data set's maps of objects",
    )
    names: Path | None = Field(
        None, description="text file that names the pictures to take, one a line; null: all"
    )


class ClassEntry(Settings):
    """One class of a list that stands in the settings themselves."""

    id: int = Field(description="what stands for it in the annotations")
    name: str = Field(description="what people call it")
    color: Color | None = Field(None, description="that it is drawn in")
    is_thing: bool = Field(default=True, description="whether it comes in objects")


def _as_entries(value: Any) -> Any:
    """Class lists as a person writes them: names in the order of their ids, or names by id."""
    match value:
        case {**names} if all(type(number) is int for number in names):
            return [{"id": number, "name": str(name)} for number, name in names.items()]
        case {**names}:
            raise ValueError(f"{excerpt(dict(names))} must be names by number, as {{0: road}}")
        case [*names] if all(isinstance(name, str) for name in names):
            return [{"id": number, "name": name} for number, name in enumerate(names)]
        case [*entries]:
            strange = [e for e in entries if not isinstance(e, dict | ClassEntry)]
            if strange:
                raise ValueError(f"{excerpt(strange[0])} is no class; write names, or {{id, name}}")
    return value


ClassList = Annotated[Path | str | tuple[ClassEntry, ...], BeforeValidator(_as_entries)]


class Clip(Settings):
    """A training clip: frames drawn around a random one of a video, in the order of time."""

    frames: int = Field(2, ge=1, description="of a clip")
    reach: int = Field(20, ge=0, description="how far from the first drawn frame, in frames")


class Data(Settings):
    """The data set and what is done to it."""

    format: Format | None = Field(None, description="null: recognised")
    root: Path | None = Field(None, description="relative paths of the splits start here")
    train: Split = Field(Split(), description="what is trained on")
    val: Split = Field(Split(), description="what is measured on")
    test: Split = Field(Split(), description="what `evaluate --split test` measures on")
    classes: ClassList | None = Field(
        None, description="names in order, names by id, a JSON list of classes, or a bundled name"
    )
    ignore: tuple[int, ...] = Field((255,), description="values of label maps that nobody counts")
    offset: int = Field(0, description="added to the other values of label maps")
    colors: dict[str, Color] | Path | None = Field(
        None, description="label maps in colours: the colour of each class, or a file that says it"
    )
    background: Literal["none", "class", "void"] = Field(
        "none",
        description="value 0 of label maps, or the class of that name: like any other value, a "
        "class of its own whatever the list says, or nobody's; for semantic segmentation from "
        "objects, what is no object: a class (none, class), or nobody's",
    )
    endings: tuple[str, str] = Field(
        ("", ""), description="what the names of pictures and label maps end in, each its own"
    )
    merge: dict[str, tuple[str, ...]] = Field(
        {}, description="new classes, and those of the data that each is made of"
    )
    ignore_classes: tuple[str, ...] = Field(
        (), description="classes of the data that nobody counts"
    )
    channels: Count | None = Field(
        None, description="pictures have so many of their own, at their own depth; null: 8-bit RGB"
    )
    augmentation: Augmentation = Field(
        LargeScaleJitter(), description="how training pictures are varied"
    )
    clip: Clip | None = Field(None, description="train on clips of videos")
    separate: tuple[str, ...] = Field(
        (),
        description="classes of label maps whose connected regions are objects, each its own; the "
        "other classes are stuff",
    )
    fold: tuple[int, int] | str | None = Field(
        None,
        description="validate on some training pictures, train on the rest: on every n-th from k "
        "(k, n), or on those whose path ends as a pattern says (patient7_*, drive3/*)",
    )
    paste: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the chance that a training picture gets about half the regions of another one "
        "(Copy-Paste, ClassMix)",
    )
    first: PositiveInt | None = Field(
        None, description="use only the first pictures of each split, in its order"
    )
    repeat: float | None = Field(
        None,
        gt=0,
        le=1,
        description="pictures with a class that a smaller part f of all pictures shows come "
        "sqrt(repeat / f) times as often (LVIS)",
    )
    workers: int = Field(2, ge=0, description="processes that prepare training pictures")
    cache_mb: int = Field(2000, ge=0, description="decoded pictures kept in memory, in MB")

    def source(self, name: SplitName) -> Split:
        """Where the pictures of a split are; a fold's validation pictures are among training's."""
        if name == "val" and self.fold is not None:
            return self.train
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @model_validator(mode="after")
    def _fold_is_one_of_several(self) -> Self:
        match self.fold:
            case (int() as position, int() as count) if not 0 <= position < count > 1:
                raise ValueError(f"fold={list(self.fold)} must be [k, n] with 0 <= k < n and n > 1")
            case "":
                raise ValueError("fold is empty; write [k, n], or a pattern of paths")
        return self

    @model_validator(mode="after")
    def _clips_are_of_videos(self) -> Self:
        if self.clip is not None and self.format not in ("youtube_vis", "shapes"):
            raise ValueError("clip is for videos: the format must be youtube_vis (or shapes)")
        return self

    @model_validator(mode="after")
    def _background_is_of_maps(self) -> Self:
        maps = (None, "label_maps", "voc", *OBJECT_FORMATS)
        if self.background != "none" and self.format not in maps:
            raise ValueError(
                f"background={self.background} is for label maps; data.ignore_classes names "
                f"classes of {self.format} that nobody counts"
            )
        return self

    @model_validator(mode="after")
    def _regions_are_of_maps(self) -> Self:
        if self.separate and self.format not in (None, "label_maps"):
            raise ValueError(f"separate is for label_maps; {self.format} knows its own objects")
        return self

    @model_validator(mode="after")
    def _names_are_of_folders(self) -> Self:
        if self.format in ("coco", "coco_panoptic", "cityscapes", "youtube_vis") and (
            self.train.names or self.val.names or self.test.names
        ):
            raise ValueError(
                f"names choose pictures of maps, voc, yolo and labelme; {self.format} lists its own"
            )
        return self
