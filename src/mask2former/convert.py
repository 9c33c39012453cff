"""Weights of other implementations <-> ours: one table per source, one row per kind of tensor.

In a row's names `{i}` stands for a number, `{i+1}` for the number after it, and `{x}` for any rest.
The first row that fits a name serves it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PLACE = re.compile(r"\{(\w)(?:\+(\d+))?\}")
ESCAPED_PLACE = re.compile(r"\\\{(\w)(?:\\\+\d+)?\\\}")
THIRDS = ("query", "key", "value")

Operation = Literal["copy", "drop", "query", "key", "value"]


@dataclass(frozen=True)
class Row:
    """Their name, our name, and what is done: a third of a packed projection, a copy, nothing."""

    theirs: str
    ours: str
    operation: Operation = "copy"

    def rename(self, name: str) -> str | None:
        """Our name of their tensor, or None where the row is not about it."""
        values = _read(self.theirs, name)
        return None if values is None else _fill(self.ours, values)


def convert(tensors: Mapping[str, Tensor], table: Iterable[Row], *, source: str) -> dict:
    """Give every tensor our name and form; `source` names the origin in messages.

    Raises ValueError where a tensor has no row, or a packed projection lacks a third.
    """
    table = list(table)
    converted: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, Tensor]] = defaultdict(dict)
    unknown = []
    for name, tensor in tensors.items():
        rows = ((row.operation, ours) for row in table if (ours := row.rename(name)) is not None)
        operation, ours = next(rows, ("unknown", ""))
        if operation == "unknown":
            unknown.append(name)
        elif operation == "copy":
            converted[ours] = tensor
        elif operation != "drop":
            thirds[ours][operation] = tensor
    if unknown:
        raise ValueError(
            f"{len(unknown)} tensors of {source} belong to no known part of a Mask2Former: "
            f"{', '.join(unknown[:5])}; is it a Mask2Former with a ResNet or Swin backbone?"
        )
    for ours, parts in thirds.items():
        lacking = [part for part in THIRDS if part not in parts]
        if lacking:
            raise ValueError(f"{source} lacks the {' and '.join(lacking)} projection of '{ours}'")
        converted[ours] = torch.cat([parts[part] for part in THIRDS])
    return converted


def from_huggingface(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a transformers `Mask2FormerForUniversalSegmentation`, in our names.

    Takes the names of files on the hub and those a model has in memory (transformers 4 and 5).
    """
    return convert(tensors, HUGGINGFACE, source="the Hugging Face weights")


def under(theirs: str, ours: str, rows: Iterable[Row]) -> list[Row]:
    """Rows whose names begin with a prefix."""
    return [Row(theirs + row.theirs, ours + row.ours, row.operation) for row in rows]


def _read(template: str, name: str) -> dict[str, str | int] | None:
    pattern = ESCAPED_PLACE.sub(
        lambda place: "(?P<x>.+)" if place[1] == "x" else rf"(?P<{place[1]}>\d+)",
        re.escape(template),
    )
    found = re.fullmatch(pattern, name)
    if found is None:
        return None
    offsets = dict(PLACE.findall(template))
    return {
        place: text if place == "x" else int(text) - int(offsets[place] or 0)
        for place, text in found.groupdict().items()
    }


def _fill(template: str, values: Mapping[str, str | int]) -> str:
    return PLACE.sub(
        lambda place: str(int(values[place[1]]) + int(place[2]) if place[2] else values[place[1]]),
        template,
    )


SWIN_BLOCK = [
    Row("layernorm_before.{x}", "norm1.{x}"),
    Row("layernorm_after.{x}", "norm2.{x}"),
    *(Row(f"attention.self.{third}.{{x}}", "attn.qkv.{x}", third) for third in THIRDS),
    *(Row(f"attention.{third[0]}_proj.{{x}}", "attn.qkv.{x}", third) for third in THIRDS),
    Row("attention.output.dense.{x}", "attn.proj.{x}"),
    Row("attention.o_proj.{x}", "attn.proj.{x}"),
    Row("attention.self.relative_position_index", "", "drop"),
    *(
        Row(f"attention.{part}.relative_position_bias_table", "attn.relative_position_bias_table")
        for part in ("self", "relative_position_bias")
    ),
    Row("intermediate.dense.{x}", "mlp.fc1.{x}"),
    Row("mlp.fc1.{x}", "mlp.fc1.{x}"),
    Row("output.dense.{x}", "mlp.fc2.{x}"),
    Row("mlp.fc2.{x}", "mlp.fc2.{x}"),
]
SWIN = [
    Row("embeddings.patch_embeddings.projection.{x}", "patch_embed.proj.{x}"),
    Row("embeddings.norm.{x}", "patch_embed.norm.{x}"),
    *under("encoder.layers.{i}.blocks.{j}.", "layers.{i}.blocks.{j}.", SWIN_BLOCK),
    Row("encoder.layers.{i}.downsample.{x}", "layers.{i}.downsample.{x}"),
    Row("hidden_states_norms.stage{i+1}.{x}", "norm{i}.{x}"),
    Row("hidden_states_norms.{i}.{x}", "norm{i}.{x}"),
    Row("layernorm.{x}", "", "drop"),  # of the whole Swin, which nobody reads
]
RESNET = [
    Row("embedder.embedder.convolution.{x}", "conv1.{x}"),
    Row("embedder.embedder.normalization.{x}", "bn1.{x}"),
    *under(
        "encoder.stages.{s}.layers.{b}.",
        "layer{s+1}.{b}.",
        [
            Row("layer.{n}.convolution.{x}", "conv{n+1}.{x}"),
            Row("layer.{n}.normalization.{x}", "bn{n+1}.{x}"),
            Row("shortcut.convolution.{x}", "downsample.0.{x}"),
            Row("shortcut.normalization.{x}", "downsample.1.{x}"),
        ],
    ),
]
PIXEL_DECODER = [
    Row("input_projections.{i}.{x}", "input_proj.{i}.{x}"),
    Row("level_embed", "level_embed"),
    Row("encoder.layers.{i}.self_attn.{x}", "layers.{i}.self_attn.{x}"),
    Row("encoder.layers.{i}.self_attn_layer_norm.{x}", "layers.{i}.norm1.{x}"),
    Row("encoder.layers.{i}.fc1.{x}", "layers.{i}.linear1.{x}"),
    Row("encoder.layers.{i}.fc2.{x}", "layers.{i}.linear2.{x}"),
    Row("encoder.layers.{i}.final_layer_norm.{x}", "layers.{i}.norm2.{x}"),
    Row("adapter_1.{x}", "lateral.{x}"),
    Row("layer_1.{x}", "smooth.{x}"),
    Row("mask_projection.{x}", "mask_features.{x}"),
]
DECODER_LAYER = [
    Row("cross_attn.{x}", "cross.attention.{x}"),
    Row("cross_attn_layer_norm.{x}", "cross.norm.{x}"),
    *(
        Row(f"self_attn.{third[0]}_proj.{{x}}", "self.attention.in_proj_{x}", third)
        for third in THIRDS
    ),
    Row("self_attn.out_proj.{x}", "self.attention.out_proj.{x}"),
    Row("self_attn_layer_norm.{x}", "self.norm.{x}"),
    Row("fc1.{x}", "ffn.linear1.{x}"),
    Row("fc2.{x}", "ffn.linear2.{x}"),
    Row("final_layer_norm.{x}", "ffn.norm.{x}"),
]
TRANSFORMER_DECODER = [
    Row("queries_features.weight", "queries.content.weight"),
    Row("queries_embedder.weight", "queries.position.weight"),
    Row("level_embed.weight", "level_embed.weight"),
    *under("decoder.layers.{i}.", "layers.{i}.", DECODER_LAYER),
    Row("decoder.layernorm.{x}", "norm.{x}"),
    # Ours counts the ReLUs between the linear layers.
    *(
        Row(f"decoder.mask_predictor.mask_embedder.{i}.0.{{x}}", f"mask_head.layers.{2 * i}.{{x}}")
        for i in range(3)
    ),
]
HUGGINGFACE = [
    *(
        row
        for module in ("", "swin.", "model.")  # what versions called the Swin inside the encoder
        for row in under(f"model.pixel_level_module.encoder.{module}", "backbone.", SWIN)
    ),
    *under("model.pixel_level_module.encoder.", "backbone.body.", RESNET),
    *under("model.pixel_level_module.decoder.", "pixel_decoder.", PIXEL_DECODER),
    *under("model.transformer_module.", "transformer_decoder.", TRANSFORMER_DECODER),
    Row("class_predictor.{x}", "transformer_decoder.class_head.{x}"),
    Row("criterion.empty_weight", "", "drop"),
]
