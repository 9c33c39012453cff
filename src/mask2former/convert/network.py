"""Which network some weights are of, read from their names and shapes (ours)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from torch import Tensor

from mask2former import config as c

RESNETS = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101"}
LEVELS = 3
COUNTER = "num_batches_tracked"


def read_network(weights: Mapping[str, Tensor], *, heads: int = 8) -> c.Model:
    """The settings under which `build_model` makes the network of these weights.

    Shapes do not tell the number of attention heads, nor pictures from video. Raises ValueError
    where a tensor that tells of the network is missing, or the backbone is none we know.
    """
    try:
        num_queries, dim = weights["transformer_decoder.queries.position.weight"].shape
        per_query = weights["pixel_decoder.layers.0.self_attn.attention_weights.bias"].shape[0]
        return c.Model(
            dim=dim,
            backbone=_read_backbone(weights),
            pixel_decoder=c.MSDeformAttn(
                layers=_count(weights, "pixel_decoder.layers"),
                heads=heads,
                points=per_query // (heads * LEVELS),
                feedforward=weights["pixel_decoder.layers.0.linear1.bias"].shape[0],
            ),
            transformer_decoder=c.TransformerDecoder(
                layers=_count(weights, "transformer_decoder.layers"),
                heads=heads,
                feedforward=weights["transformer_decoder.layers.0.ffn.linear1.bias"].shape[0],
                num_queries=num_queries,
            ),
        )
    except KeyError as error:
        raise ValueError(
            f"the weights lack {error}, which every Mask2Former has; is the file whole?"
        ) from None


def count_classes(weights: Mapping[str, Tensor]) -> int:
    """The classes without the last, no object."""
    bias = weights.get("transformer_decoder.class_head.bias")
    if bias is None:
        raise ValueError(
            "the weights have no class head: a bare Mask2FormerModel tells masks from each other "
            "but cannot name them; give a Mask2FormerForUniversalSegmentation"
        )
    return bias.shape[0] - 1


def count_parameters(weights: Mapping[str, Tensor], backbone: c.Backbone) -> int:
    """What training would change: all but statistics and frozen batch norms."""
    frozen = backbone.kind == "timm" and backbone.norm == "frozen"
    return sum(
        tensor.numel()
        for name, tensor in weights.items()
        if not name.endswith((COUNTER, "running_mean", "running_var"))
        and not (frozen and name.startswith("backbone.") and tensor.ndim == 1)
    )


def fit_counters(weights: Mapping[str, Tensor], backbone: c.Backbone) -> dict[str, Tensor]:
    """Leave out the step counters of batch norms, which frozen ones do not have."""
    frozen = backbone.kind == "timm" and backbone.norm == "frozen"
    return {n: t for n, t in weights.items() if not (frozen and n.endswith(COUNTER))}


def _read_backbone(weights: Mapping[str, Tensor]) -> c.TimmBackbone | c.SwinBackbone:
    embedding = weights.get("backbone.patch_embed.proj.weight")
    if embedding is None:
        return _read_resnet(weights)
    depths = [_count(weights, f"backbone.layers.{stage}.blocks") for stage in range(4)]
    tables = [
        weights[f"backbone.layers.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(4)
    ]
    return c.SwinBackbone(
        embed_dim=embedding.shape[0],
        depths=tuple(depths),
        heads=tuple(table.shape[1] for table in tables),
        window=(isqrt(tables[0].shape[0]) + 1) // 2,
    )


def _read_resnet(weights: Mapping[str, Tensor]) -> c.TimmBackbone:
    depths = tuple(_count(weights, f"backbone.body.layer{stage}") for stage in (1, 2, 3, 4))
    if depths not in RESNETS:
        raise ValueError(
            f"the backbone has stages of {list(depths)} blocks; known are Swin, ResNet-50 and "
            "ResNet-101"
        )
    # A frozen norm has no counter, or one that never counted.
    counted = any(n.endswith(COUNTER) and t.any() for n, t in weights.items())
    return c.TimmBackbone(name=RESNETS[depths], norm="trainable" if counted else "frozen")


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbers follow a prefix."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({found[1] for name in weights if (found := pattern.match(name))})
