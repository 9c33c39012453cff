"""The settings of the network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, Tag, model_validator

from mask2former.config.base import Count, Depth, Settings, kind_of

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class TimmBackbone(Settings):
    """Any timm model with feature maps at strides 4, 8, 16 and 32."""

    kind: Literal["timm"] = "timm"
    name: str = "resnet50"
    norm: Literal["frozen", "trainable"] = "frozen"
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


class SemanticFPN(Settings):
    """The pyramid of an FPN, all of whose maps are summed at stride 4 (table 4e)."""

    kind: Literal["semantic_fpn"] = "semantic_fpn"
    channels: Count = 128


class BiFPN(Settings):
    """EfficientDet's: down and up again, with learned weights, `layers` times (table 4e)."""

    kind: Literal["bifpn"] = "bifpn"
    layers: Depth = 3


class FaPN(Settings):
    """An FPN that aligns what comes from above by deformable convolutions (table 4e)."""

    kind: Literal["fapn"] = "fapn"
    groups: Count = Field(8, description="of channels, each with displacements of its own")


class SampledQueries(Settings):
    """One query for every `spacing` x `spacing` pixels of the network's input, read off there."""

    spacing: float = Field(16.0, gt=0)


Queries = Annotated[
    Annotated[Literal["learnable", "zero"], Tag("word")] | Annotated[SampledQueries, Tag("branch")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "branch"),
]


class TransformerDecoder(Settings):
    """The masked-attention decoder and the ablations of tables 4a-4d and X."""

    layers: int = Field(9, ge=0, le=2**8)
    heads: Count = 8
    feedforward: Count = 2048
    dropout: float = Field(0.0, ge=0, lt=1)
    num_queries: Count = Field(100, description="not of sampled ones: their spacing tells")
    queries: Queries = "learnable"
    levels: tuple[tuple[Literal[32, 16, 8], ...], ...] = ((32,), (16,), (8,))
    order: tuple[Literal["cross", "self", "ffn"], ...] = ("cross", "self", "ffn")
    attention: Literal["masked", "full", "smca", "mask_pooling"] = "masked"
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

    dim: Count = 256
    placed_masks: bool = Field(
        default=False, description="masks know where their query stands: for many like objects"
    )
    backbone: Backbone = TimmBackbone()
    pixel_decoder: PixelDecoder = MSDeformAttn()
    transformer_decoder: TransformerDecoder = TransformerDecoder()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[PositiveFloat, ...] = IMAGENET_STD
    value_range: tuple[float, float] | None = Field(
        None, description="the pictures' black and white, which mean and std count as 0 and 255"
    )

    @model_validator(mode="after")
    def _value_range_is_a_range(self) -> Self:
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"value_range={list(self.value_range)} must be [black, white]")
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
