"""The names of the official code (facebookresearch/Mask2Former), pictures and video alike."""

from __future__ import annotations

from mask2former.convert.rows import Row, under

# The same in every implementation that kept the Swin authors' names.
SWIN_BLOCK = [
    Row("{x}.relative_position_index", "", "drop"),
    Row("attn_mask", "", "drop"),
    *(Row(f"{part}.{{x}}", f"{part}.{{x}}") for part in ("norm1", "norm2", "attn", "mlp")),
]
SWIN = [
    Row("patch_embed.{x}", "patch_embed.{x}"),
    *under("layers.{i}.blocks.{j}.", "layers.{i}.blocks.{j}.", SWIN_BLOCK),
    Row("layers.{i}.downsample.{x}", "layers.{i}.downsample.{x}"),
    Row("norm{i}.{x}", "norm{i}.{x}"),
]
RESNET = [
    Row("stem.conv1.weight", "conv1.weight"),
    Row("stem.conv1.norm.{x}", "bn1.{x}"),
    *under(
        "res{s+1}.{b}.",
        "layer{s}.{b}.",
        [
            Row("conv{n}.weight", "conv{n}.weight"),
            Row("conv{n}.norm.{x}", "bn{n}.{x}"),
            Row("shortcut.weight", "downsample.0.weight"),
            Row("shortcut.norm.{x}", "downsample.1.{x}"),
        ],
    ),
]
PIXEL_DECODER = [
    Row("input_proj.{i}.{x}", "input_proj.{i}.{x}"),
    Row("transformer.level_embed", "level_embed"),
    Row("transformer.encoder.layers.{i}.{x}", "layers.{i}.{x}"),
    Row("adapter_1.weight", "lateral.0.weight"),
    Row("adapter_1.norm.{x}", "lateral.1.{x}"),
    Row("layer_1.weight", "smooth.0.weight"),
    Row("layer_1.norm.{x}", "smooth.1.{x}"),
    Row("mask_features.{x}", "mask_features.{x}"),
]
TRANSFORMER_DECODER = [
    Row("query_feat.weight", "queries.content.weight"),
    Row("static_query.weight", "queries.content.weight"),  # what the released picture models have
    Row("query_embed.weight", "queries.position.weight"),
    Row("level_embed.weight", "level_embed.weight"),
    *(
        row
        for theirs, attention, ours in (
            ("cross_attention", "multihead_attn", "cross"),
            ("self_attention", "self_attn", "self"),
        )
        for row in under(
            f"transformer_{theirs}_layers.{{i}}.",
            f"layers.{{i}}.{ours}.",
            [Row(f"{attention}.{{x}}", "attention.{x}"), Row("norm.{x}", "norm.{x}")],
        )
    ),
    Row("transformer_ffn_layers.{i}.{x}", "layers.{i}.ffn.{x}"),
    Row("decoder_norm.{x}", "norm.{x}"),
    Row("class_embed.{x}", "class_head.{x}"),
    # Ours counts the ReLUs between the linear layers.
    *(Row(f"mask_embed.layers.{i}.{{x}}", f"mask_head.layers.{2 * i}.{{x}}") for i in range(3)),
]
OFFICIAL = [
    *under("backbone.", "backbone.body.", RESNET),
    *under("backbone.", "backbone.", SWIN),
    *under("sem_seg_head.predictor.", "transformer_decoder.", TRANSFORMER_DECODER),
    *under("sem_seg_head.pixel_decoder.", "pixel_decoder.", PIXEL_DECODER),
    *under("sem_seg_head.", "pixel_decoder.", PIXEL_DECODER),  # the earliest files
    Row("criterion.empty_weight", "", "drop"),
]
