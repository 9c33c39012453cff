"""The settings of the network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, Tag, model_validator

from mask2former.config.base import Count, Depth, Settings, kind_of

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class TimmBackbone(Settings):
    """Any timm model with feature maps at strides 4, 8, 16 and 32, or a plain ViT of any patch."""

    kind: Literal["timm"] = "timm"
    name: str = Field("resnet50", description="timm's name")
    norm: Literal["frozen", "trainable"] = Field(
        "frozen", description="whether the statistics of batch norms stay, or are learned"
    )
    weights: str | None = Field(
        None,
        description="training starts from: a file of timm or torchvision weights, 'timm' (from its "
        "cache or the Hub), or 'efficientnet-lite0-package' (1 and 2 too)",
    )


class SwinBackbone(Settings):
    """Swin as the published checkpoints have it; the defaults are Swin-T."""

    kind: Literal["swin"] = "swin"
    weights: str | None = Field(
        None,
        description="training starts from: an ImageNet file of the authors (.pth), or timm's of "
        "the same weights (timm/swin_tiny_patch4_window7_224.ms_in1k, from its cache or the Hub)",
    )
    embed_dim: Count = Field(96, description="channels at stride 4; they double at every stage")
    depths: tuple[Depth, Depth, Depth, Depth] = Field(
        (2, 2, 6, 2), description="blocks of each stage"
    )
    heads: tuple[Count, Count, Count, Count] = Field(
        (3, 6, 12, 24), description="attention heads of each stage"
    )
    window: Count = Field(7, description="side of a window, in patches")
    drop_path: float = Field(
        0.3, ge=0, lt=1, description="the chance that the last block is left out in training"
    )

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
    layers: Depth = Field(6, description="of the deformable encoder")
    heads: Count = Field(8, description="attention heads")
    points: Count = Field(4, description="points that a head samples in each map")
    feedforward: Count = Field(1024, description="hidden channels of a layer")


class FPN(Settings):
    """The light pixel decoder of table 4e."""

    kind: Literal["fpn"] = "fpn"


class SemanticFPN(Settings):
    """The pyramid of an FPN, all of whose maps are summed at stride 4 (table 4e)."""

    kind: Literal["semantic_fpn"] = "semantic_fpn"
    channels: Count = Field(128, description="of the maps that are summed")


class BiFPN(Settings):
    """EfficientDet's: down and up again, with learned weights, `layers` times (table 4e)."""

    kind: Literal["bifpn"] = "bifpn"
    layers: Depth = Field(3, description="times down and up")


class FaPN(Settings):
    """An FPN that aligns what comes from above by deformable convolutions (table 4e)."""

    kind: Literal["fapn"] = "fapn"
    groups: Count = Field(8, description="of channels, each with displacements of its own")


class SampledQueries(Settings):
    """One query for every `spacing` x `spacing` pixels of the network's input, read off there."""

    spacing: float = Field(16.0, gt=0, description="pixels from one query to the next")


Queries = Annotated[
    Annotated[Literal["learnable", "zero"], Tag("word")] | Annotated[SampledQueries, Tag("branch")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "branch"),
]


class TransformerDecoder(Settings):
    """The masked-attention decoder and the ablations of tables 4a-4d and X."""

    layers: int = Field(9, ge=0, le=2**8, description="0: predict from the queries alone")
    heads: Count = Field(8, description="attention heads")
    feedforward: Count = Field(2048, description="hidden channels of a layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="in training")
    num_queries: Count = Field(100, description="not of sampled ones: their spacing tells")
    queries: Queries = Field(
        "learnable",
        description="what queries begin as: learned features, zeros, or, with {spacing: 16}, the "
        "features under them (many like objects)",
    )
    levels: tuple[Annotated[tuple[Literal[32, 16, 8], ...], Field(min_length=1)], ...] = Field(
        ((32,), (16,), (8,)),
        min_length=1,
        description="strides of the maps that a layer reads, from layer to layer in turn",
    )
    order: tuple[Literal["cross", "self", "ffn"], ...] = Field(
        ("cross", "self", "ffn"),
        description="of cross-attention, self-attention and feedforward in a layer",
    )
    attention: Literal["masked", "full", "smca", "mask_pooling"] = Field(
        "masked", description="where a query may look (table 4a)"
    )
    position: Literal["2d", "3d", "pixels"] = Field(
        "2d",
        description="what positions are counted in: parts of the picture, the same of a clip with "
        "its frames, or pixels",
    )

    @model_validator(mode="after")
    def _queries_are_counted_once(self) -> Self:
        usual = type(self).model_fields["num_queries"].default  # what a stored tree holds
        if isinstance(self.queries, SampledQueries) and self.num_queries != usual:
            raise ValueError(
                f"num_queries={self.num_queries} says nothing beside sampled queries, of which "
                f"the spacing and the picture's size tell how many there are; leave it at {usual}"
            )
        return self

    @model_validator(mode="after")
    def _order_names_each_block_once(self) -> Self:
        if sorted(self.order) != ["cross", "ffn", "self"]:
            raise ValueError(f"order={list(self.order)} must name cross, self and ffn once each")
        return self

    @model_validator(mode="after")
    def _attention_has_layers(self) -> Self:
        if self.layers == 0 and self.attention != "masked":
            raise ValueError(
                f"attention={self.attention} says nothing in a decoder of 0 layers, which never "
                "reads the picture; leave it at masked"
            )
        return self


Backbone = Annotated[
    Annotated[TimmBackbone, Tag("timm")] | Annotated[SwinBackbone, Tag("swin")], kind_of("backbone")
]
PixelDecoder = Annotated[
    Annotated[MSDeformAttn, Tag("msdeformattn")]
    | Annotated[FPN, Tag("fpn")]
    | Annotated[SemanticFPN, Tag("semantic_fpn")]
    | Annotated[BiFPN, Tag("bifpn")]
    | Annotated[FaPN, Tag("fapn")],
    kind_of("pixel_decoder"),
]


class Model(Settings):
    """The network."""

    dim: Count = Field(256, description="channels of queries and of the pixel decoder")
    placed_masks: bool = Field(
        default=False, description="masks know where their query stands: for many like objects"
    )
    backbone: Backbone = Field(
        TimmBackbone(), description="or a published one by a word: r50, r101, swin_t, swin_l, ..."
    )
    pixel_decoder: PixelDecoder = MSDeformAttn()
    transformer_decoder: TransformerDecoder = TransformerDecoder()
    mean: tuple[float, ...] = Field(
        IMAGENET_MEAN, description="of each colour, from 0 to 255; taken from pictures"
    )
    std: tuple[PositiveFloat, ...] = Field(
        IMAGENET_STD, description="what pictures are divided by, for each colour"
    )
    value_range: tuple[float, float] | None = Field(
        None, description="the pictures' black and white, which mean and std count as 0 and 255"
    )

    @model_validator(mode="after")
    def _value_range_is_a_range(self) -> Self:
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"value_range={list(self.value_range)} must be [black, white]")
        return self

    @model_validator(mode="after")
    def _channels_can_be_shared_out(self) -> Self:
        pixels = self.pixel_decoder
        for heads in (
            self.transformer_decoder.heads,
            pixels.heads if isinstance(pixels, MSDeformAttn) else 1,
        ):
            if self.dim % heads:
                raise ValueError(f"dim={self.dim} cannot be divided among {heads} heads")
        if isinstance(pixels, FaPN) and self.dim % pixels.groups:
            raise ValueError(
                f"dim={self.dim} cannot be divided into the {pixels.groups} groups of pixel_decoder"
            )
        if self.dim % 4:
            raise ValueError(
                f"dim={self.dim} must be a multiple of 4: sines and cosines of two axes share it"
            )
        return self

    @model_validator(mode="after")
    def _colours_are_normalised_one_by_one(self) -> Self:
        if not 0 < len(self.mean) == len(self.std):
            raise ValueError("mean and std need one number for each colour")
        return self

    @property
    def pixel_mean(self) -> list[float]:
        """The mean in the pictures' own numbers."""
        low, high = self.value_range or (0.0, 255.0)
        return [low + mean * (high - low) / 255 for mean in self.mean]

    @property
    def pixel_std(self) -> list[float]:
        """The standard deviation in the pictures' own numbers."""
        low, high = self.value_range or (0.0, 255.0)
        return [std * (high - low) / 255 for std in self.std]
