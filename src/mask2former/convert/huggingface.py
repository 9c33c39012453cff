"""The names of transformers' Mask2Former, in files on the Hub and in memory (versions 4 and 5).

The first of several names is that of files which transformers 5 writes and every version reads.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mask2former.convert.rows import THIRDS, Row, to_ours, under

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


def from_huggingface(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a transformers `Mask2FormerForUniversalSegmentation`, in our names."""
    return to_ours(tensors, HUGGINGFACE, source="the Hugging Face weights")
