"""The one typed tree of settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

from mask2former.categories import Task
from mask2former.config_faults import explain
from mask2former.faults import shorten
from mask2former.recipe_tree import DEFAULT_KIND, merge, read_overrides, read_recipe

SplitName = Literal["train", "val"]
Format = Literal["coco", "coco_panoptic", "cityscapes", "label_maps", "youtube_vis", "shapes"]
Precision = Literal["fp32", "bf16", "fp16"]
FORMAT = "mask2former/1"

Count = Annotated[int, Field(ge=1, le=2**16)]
"""Channels, heads, pixels of a side; more than these are a slip of the keyboard."""
Depth = Annotated[int, Field(ge=1, le=2**8)]
"""Layers, one after the other."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, a score."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Settings(BaseModel):
    """A frozen branch of the tree; unknown keys, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _kind(branch: str) -> Discriminator:
    """Tell the variants of a branch apart by `kind`."""

    def read(value: Any) -> str | None:
        if isinstance(value, dict):
            return str(value.get("kind", DEFAULT_KIND[branch]))
        return getattr(value, "kind", None)

    return Discriminator(read)


class TimmBackbone(Settings):
    """Any timm model with feature maps at strides 4, 8, 16 and 32."""

    kind: Literal["timm"] = "timm"
    name: str = "resnet50"
    norm: Literal["frozen", "trainable"] = "frozen"
    weights: str | None = Field(
        None,
        description="training starts from: a file of timm or torchvision weights, 'timm' (from its "
        "cache or the Hub), or 'efficientnet-lite0-package'",
    )


class SwinBackbone(Settings):
    """Swin as the published checkpoints have it; the defaults are Swin-T."""

    kind: Literal["swin"] = "swin"
    weights: str | None = Field(
        None,
        description="training starts from: an ImageNet file of the authors (.pth), or timm's of "
        "the same weights (timm/swin_tiny_patch4_window7_224.ms_in1k, from its cache or the Hub)",
    )
    embed_dim: Count = 96
    depths: tuple[Depth, Depth, Depth, Depth] = (2, 2, 6, 2)
    heads: tuple[Count, Count, Count, Count] = (3, 6, 12, 24)
    window: Count = 7
    drop_path: float = Field(0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_channels(self) -> Self:
        for stage, heads in enumerate(self.heads):
            if self.embed_dim * 2**stage % heads:
                raise ValueError(
                    f"embed_dim={self.embed_dim} gives {self.embed_dim * 2**stage} channels in "
                    f"stage {stage + 1}, which cannot be divided among {heads} heads"
                )
        return self


class MSDeformAttn(Settings):
    """The paper's pixel decoder."""

    kind: Literal["msdeformattn"] = "msdeformattn"
    layers: Depth = 6
    heads: Count = 8
    points: Count = 4
    feedforward: Count = 1024


class FPN(Settings):
    """The light pixel decoder of table 4e."""

    kind: Literal["fpn"] = "fpn"


class SampledQueries(Settings):
    """One query for every `spacing` x `spacing` pixels of the network's input, read off there."""

    spacing: float = Field(16.0, gt=0)


Queries = Annotated[
    Annotated[Literal["learnable", "zero"], Tag("word")] | Annotated[SampledQueries, Tag("branch")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "branch"),
]


class TransformerDecoder(Settings):
    """The masked-attention decoder and the ablations of tables 4a, 4b, 4d and X."""

    layers: int = Field(9, ge=0, le=2**8)
    heads: Count = 8
    feedforward: Count = 2048
    dropout: float = Field(0.0, ge=0, lt=1)
    num_queries: Count = Field(100, description="not of sampled ones: their spacing tells")
    queries: Queries = "learnable"
    levels: tuple[tuple[Literal[32, 16, 8], ...], ...] = ((32,), (16,), (8,))
    order: tuple[Literal["cross", "self", "ffn"], ...] = ("cross", "self", "ffn")
    attention: Literal["masked", "full"] = "masked"
    position: Literal["2d", "3d", "pixels"] = "2d"

    @model_validator(mode="after")
    def _queries_are_counted_once(self) -> Self:
        usual = type(self).model_fields["num_queries"].default  # what a stored tree holds
        if isinstance(self.queries, SampledQueries) and self.num_queries != usual:
            raise ValueError(
                f"num_queries={self.num_queries} says nothing beside sampled queries, of which "
                f"the spacing and the picture's size tell how many there are; leave it at {usual}"
            )
        return self


Backbone = Annotated[
    Annotated[TimmBackbone, Tag("timm")] | Annotated[SwinBackbone, Tag("swin")], _kind("backbone")
]
PixelDecoder = Annotated[
    Annotated[MSDeformAttn, Tag("msdeformattn")] | Annotated[FPN, Tag("fpn")],
    _kind("pixel_decoder"),
]


class Model(Settings):
    """The network."""

    dim: Count = 256
    placed_masks: bool = Field(
        default=False, description="masks know where their query stands: for many like objects"
    )
    backbone: Backbone = TimmBackbone()
    pixel_decoder: PixelDecoder = MSDeformAttn()
    transformer_decoder: TransformerDecoder = TransformerDecoder()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[PositiveFloat, ...] = IMAGENET_STD


class Loss(Settings):
    """Matching and supervision (section 3.3; table 5)."""

    class_weight: NonNegativeFloat = 2.0
    mask_weight: NonNegativeFloat = 5.0
    dice_weight: NonNegativeFloat = 5.0
    no_object_weight: NonNegativeFloat = 0.1
    mask_loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    match_on: Literal["points", "pixels"] = "points"
    supervise_on: Literal["uncertain_points", "random_points", "pixels"] = "uncertain_points"
    num_points: int = Field(12544, ge=1)
    supervise_queries: bool = True


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
    _kind("augmentation"),
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


class Schedule(Settings):
    """How the learning rate falls."""

    kind: Literal["step", "poly", "cosine"] = "poly"
    power: NonNegativeFloat = 0.9
    # The official 327,778 and 355,092 of COCO's 368,750 steps (8/9 and 26/27, rounded there).
    milestones: tuple[Share, ...] = (327_778 / 368_750, 355_092 / 368_750)
    factor: NonNegativeFloat = 0.1
    warmup: NonNegativeInt = 0


class Train(Settings):
    """The loop."""

    steps: int = Field(368_750, ge=1)
    batch_size: int = Field(16, ge=1, description="pictures per optimiser step, over all processes")
    accumulation: int = Field(1, ge=1, description="micro-batches the batch is cut into")
    sharded: bool = Field(
        default=False,
        description="processes share weights and optimiser state out (FSDP) instead of copying",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute blocks again in the backward pass: less memory, slower"
    )
    freeze: tuple[str, ...] = Field(
        (), description="what keeps its weights, by dotted names: backbone, pixel_decoder.layers.0"
    )
    learning_rate: NonNegativeFloat = 1e-4
    backbone_factor: NonNegativeFloat = 0.1
    weight_decay: NonNegativeFloat = 0.05
    clip: float | None = Field(0.01, gt=0, description="largest norm of a gradient; null: any")
    schedule: Schedule = Schedule()
    precision: Precision = "fp32"
    ema: float | None = Field(
        None, gt=0, lt=1, description="measure and keep a moving average of the weights, as 0.999"
    )
    seed: NonNegativeInt = 0
    evaluate_every: int = Field(5000, ge=1)
    best_by: str | None = Field(None, description="the figure that tells the best model: AP50, ...")
    patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better model"
    )
    save_every: int = Field(1000, ge=1)
    log_every: int = Field(20, ge=1)
    threads: PositiveInt | None = Field(
        None, description="CPU threads of the network; None: all cores"
    )


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
    ap: Literal["coco", "cityscapes", "youtube_vis"] = Field(
        "coco", description="whose average precision"
    )
    tta: Tta | None = Field(None, description="for semantic maps; {} takes the paper's views")
    show_threshold: Share = Field(0.5, description="score an instance needs to be drawn or listed")


class Config(Settings):
    """The whole tree, as a recipe gives it and `config.json` stores it."""

    model: Model = Model()
    loss: Loss = Loss()
    data: Data = Data()
    train: Train = Train()
    test: Test = Test()

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        decoder = self.model.transformer_decoder
        if self.model.placed_masks and not isinstance(decoder.queries, SampledQueries):
            raise ValueError(
                "model.placed_masks needs queries that stand somewhere; "
                "set model.transformer_decoder.queries={spacing: 16}"
            )
        if decoder.layers == 0 and not self.loss.supervise_queries:
            raise ValueError("a decoder of 0 layers with loss.supervise_queries=false has no loss")
        if self.train.batch_size % self.train.accumulation:
            raise ValueError(
                f"train.batch_size={self.train.batch_size} cannot be cut into "
                f"train.accumulation={self.train.accumulation} equal micro-batches"
            )
        pixels = self.model.pixel_decoder
        for heads in (decoder.heads, pixels.heads if isinstance(pixels, MSDeformAttn) else 1):
            if self.model.dim % heads:
                raise ValueError(
                    f"model.dim={self.model.dim} cannot be divided among {heads} heads"
                )
        if not 0 < len(self.model.mean) == len(self.model.std):
            raise ValueError("model.mean and model.std need one number for each colour")
        return self


def load_config(recipe: str, overrides: Iterable[str] = ()) -> Config:
    """Read a recipe (a bundled name such as `nuclei`, or a YAML path) and override dotted keys.

    Raises ValueError with the key and the nearest known one where something does not fit.
    """
    return parse_config(merge(read_recipe(recipe), read_overrides(overrides)), recipe)


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Change dotted keys of a resolved tree."""
    if not overrides:
        return config
    tree = merge(config.model_dump(mode="json"), read_overrides(overrides))
    return parse_config(tree, "the command line")


def parse_config(tree: dict, source: str) -> Config:
    """Validate a plain tree; `source` names it in the error."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"{source}: {shorten(explain(error, Config), 300)}") from None


def dump_config(config: Config) -> dict:
    """The tree as plain JSON values."""
    return json.loads(config.model_dump_json())
