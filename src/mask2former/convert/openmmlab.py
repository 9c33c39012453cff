"""The names of mmdetection and mmsegmentation (OpenMMLab), versions 2 and 3 (mmseg: 1)."""

from __future__ import annotations

from mask2former.convert.rows import Row, under

VIDEO_HEAD = "track_head."
HEADS = ("panoptic_head.", "decode_head.", VIDEO_HEAD)
"""What mmdetection, mmsegmentation and the video models call all that is not the backbone."""

SWIN_BLOCK = [
    Row("{x}.relative_position_index", "", "drop"),
    Row("norm1.{x}", "norm1.{x}"),
    Row("norm2.{x}", "norm2.{x}"),
    Row("attn.w_msa.{x}", "attn.{x}"),
    Row("ffn.layers.0.0.{x}", "mlp.fc1.{x}"),
    Row("ffn.layers.1.{x}", "mlp.fc2.{x}"),
]
SWIN = [
    Row("patch_embed.projection.{x}", "patch_embed.proj.{x}"),
    Row("patch_embed.norm.{x}", "patch_embed.norm.{x}"),
    *under("stages.{i}.blocks.{j}.", "layers.{i}.blocks.{j}.", SWIN_BLOCK),
    Row("stages.{i}.downsample.{x}", "layers.{i}.downsample.{x}", "unfolded"),
    Row("norm{i}.{x}", "norm{i}.{x}"),
]
RESNET = [
    Row("conv1.{x}", "conv1.{x}"),
    Row("bn1.{x}", "bn1.{x}"),
    Row("layer{s}.{x}", "layer{s}.{x}"),
]
PIXEL_DECODER = [
    Row("input_convs.{i}.conv.{x}", "input_proj.{i}.0.{x}"),
    Row("input_convs.{i}.gn.{x}", "input_proj.{i}.1.{x}"),
    Row("level_encoding.weight", "level_embed"),
    *under(
        "encoder.layers.{i}.",
        "layers.{i}.",
        [
            *(
                Row(f"{attention}.{part}.{{x}}", f"self_attn.{part}.{{x}}")
                for attention in ("self_attn", "attentions.0")
                for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
            ),
            Row("norms.0.{x}", "norm1.{x}"),
            Row("norms.1.{x}", "norm2.{x}"),
            *(
                Row(f"{ffn}.layers.{theirs}.{{x}}", f"{ours}.{{x}}")
                for ffn in ("ffn", "ffns.0")
                for theirs, ours in (("0.0", "linear1"), ("1", "linear2"))
            ),
        ],
    ),
    Row("lateral_convs.0.conv.{x}", "lateral.0.{x}"),
    Row("lateral_convs.0.gn.{x}", "lateral.1.{x}"),
    Row("output_convs.0.conv.{x}", "smooth.0.{x}"),
    Row("output_convs.0.gn.{x}", "smooth.1.{x}"),
    Row("mask_feature.{x}", "mask_features.{x}"),
]
DECODER_LAYER = [
    *(
        Row(f"{theirs}.attn.{{x}}", f"{ours}.attention.{{x}}")
        for theirs, ours in (
            ("cross_attn", "cross"),
            ("self_attn", "self"),
            ("attentions.0", "cross"),  # version 2 numbers the blocks in the order they run
            ("attentions.1", "self"),
        )
    ),
    *(
        Row(f"norms.{i}.{{x}}", f"{block}.norm.{{x}}")
        for i, block in enumerate(("cross", "self", "ffn"))
    ),
    *(
        Row(f"{ffn}.layers.{theirs}.{{x}}", f"ffn.{ours}.{{x}}")
        for ffn in ("ffn", "ffns.0")
        for theirs, ours in (("0.0", "linear1"), ("1", "linear2"))
    ),
]
TRANSFORMER_DECODER = [
    Row("query_feat.weight", "queries.content.weight"),
    Row("query_embed.weight", "queries.position.weight"),
    Row("level_embed.weight", "level_embed.weight"),
    *under("transformer_decoder.layers.{i}.", "layers.{i}.", DECODER_LAYER),
    Row("transformer_decoder.post_norm.{x}", "norm.{x}"),
    Row("cls_embed.{x}", "class_head.{x}"),
    Row("mask_embed.{i}.{x}", "mask_head.layers.{i}.{x}"),
]
OPENMMLAB = [
    *under("backbone.", "backbone.body.", RESNET),
    *under("backbone.", "backbone.", SWIN),
    *(
        row
        for head in HEADS
        for row in (
            *under(f"{head}pixel_decoder.", "pixel_decoder.", PIXEL_DECODER),
            *under(head, "transformer_decoder.", TRANSFORMER_DECODER),
        )
    ),
]
