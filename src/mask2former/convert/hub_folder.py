"""A model folder as transformers has it: `config.json`, `preprocessor_config.json`, weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mask2former import config as c
from mask2former.card import ModelCard, card_from_json, card_to_json
from mask2former.convert.huggingface import HUGGINGFACE
from mask2former.convert.rows import to_theirs
from mask2former.faults import excerpt
from mask2former.files import read_json, to_json
from mask2former.writing import replace_file, replace_text

CONFIG_FILE = "config.json"
PROCESSOR_FILE = "preprocessor_config.json"
OURS = "mask2former"
"""Where transformers' `config.json` keeps our card; it is to transformers a setting like others."""

ENCODER = "model.pixel_level_module.encoder."
STAGES = ["stage1", "stage2", "stage3", "stage4"]
EXPECTED = {
    "model_type": "mask2former",
    "pre_norm": False,
    "enforce_input_projection": False,
    "common_stride": 4,
    "activation_function": "relu",
    "backbone_config.patch_size": 4,
    "backbone_config.mlp_ratio": 4.0,
    "backbone_config.qkv_bias": True,
    "backbone_config.use_absolute_embeddings": False,
    "backbone_config.layer_norm_eps": 1e-5,
    "backbone_config.layer_type": "bottleneck",
    "backbone_config.downsample_in_first_stage": False,
    "backbone_config.downsample_in_bottleneck": False,
}
"""Settings that change the network without changing a shape, as every published model has them."""

STATISTICS = {
    "image_mean": ([value / 255 for value in c.IMAGENET_MEAN], [0.0] * 3),
    "image_std": ([value / 255 for value in c.IMAGENET_STD], [1.0] * 3),
}
"""What transformers takes where its settings are silent, and what not to normalise means."""


@dataclass(frozen=True)
class HubFolder:
    """What the two JSON files say that the weights do not."""

    names: list[str] | None = None
    heads: int = 8
    is_video: bool = False
    mean: tuple[float, ...] = c.IMAGENET_MEAN
    std: tuple[float, ...] = c.IMAGENET_STD
    edges: tuple[int, int] | None = None  # shortest, longest
    card: ModelCard | None = None


def is_hub_folder(folder: Path) -> bool:
    """Whether a folder is of transformers' form, and not of ours or broken."""
    try:
        return "model_type" in read_json(folder / CONFIG_FILE)
    except ValueError:
        return False  # whoever reads it as ours will say what is wrong


def read_hub_folder(folder: Path) -> HubFolder:
    """Read the JSON files of a folder.

    Raises ValueError where a setting makes it another network than the paper's.
    """
    config = read_json(folder / CONFIG_FILE)
    for key, value in EXPECTED.items():
        found = _look_up(config, key, value)
        if found != value:
            raise ValueError(f"{folder / CONFIG_FILE}: {key} is {found!r}; only {value!r} is known")
    processor_file = folder / PROCESSOR_FILE
    processor = read_json(processor_file) if processor_file.is_file() else {}
    card = config.get(OURS)
    names = _read_names(config)
    if card is not None:
        card = card_from_json(card, str(folder / CONFIG_FILE))
        card = card if card.categories.names == names else None  # fine-tuned since on other classes
    return HubFolder(
        names=names,
        heads=config.get("num_attention_heads", 8),
        is_video=any("Video" in name for name in config.get("architectures") or ()),
        mean=_in_grey_levels(processor, "image_mean", str(processor_file)),
        std=_in_grey_levels(processor, "image_std", str(processor_file)),
        edges=_read_edges(processor.get("size")),
        card=card,
    )


def save_hub_folder(folder: Path, weights: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write a folder that `Mask2FormerForUniversalSegmentation.from_pretrained` loads whole.

    Raises ValueError where transformers' Mask2Former has no place for something of the model.
    """
    reasons = list(_reasons_against(card.config.model))
    if reasons:
        raise ValueError(f"transformers' Mask2Former cannot hold {', and '.join(reasons)}")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _complete(to_theirs(weights, HUGGINGFACE), card)
    whole = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    replace_file(
        folder / "model.safetensors", lambda path: save_file(whole, path, {"format": "pt"})
    )
    replace_text(folder / PROCESSOR_FILE, to_json(_processor(card.config), indent=2))
    replace_text(folder / CONFIG_FILE, to_json(_config(card), indent=2))


def _look_up(config: Mapping[str, Any], dotted: str, default: object) -> Any:
    *branches, leaf = dotted.split(".")
    for branch in branches:
        config = config.get(branch) or {}
    return config.get(leaf, default)


def _read_names(config: Mapping[str, Any]) -> list[str] | None:
    """The class names in their order, or None where they are only numbered."""
    match config.get("id2label"):
        case dict() as labels if all(str(i) in labels for i in range(len(labels))):
            names = [str(labels[str(i)]) for i in range(len(labels))]
            return None if all(n == f"LABEL_{i}" for i, n in enumerate(names)) else names
    return None


def _in_grey_levels(processor: Mapping[str, Any], key: str, source: str) -> tuple[float, ...]:
    """Their mean or deviation of scaled pictures as ours of 0..255, without the noise of fp32."""
    usual, none = STATISTICS[key]
    values = processor.get(key) or usual if processor.get("do_normalize", True) else none
    factor = processor.get("rescale_factor") or 1 / 255
    scale = factor if processor.get("do_rescale", True) else 1
    match scale, values:
        case float() | int(), [float() | int(), float() | int(), float() | int()]:
            return tuple(round(value / scale, 3) for value in values)
    raise ValueError(
        f"{source}: {key} is {excerpt(values)} after scaling by {excerpt(scale)}; only three "
        "numbers, one a colour, are known"
    )


def _read_edges(size: Any) -> tuple[int, int] | None:
    """The sizes pictures are resized to, unless they are squashed into a box, which we never do."""
    match size:
        case {"shortest_edge": int() as shortest, "longest_edge": int() as longest}:
            return shortest, longest
    return None


def _reasons_against(model: c.Model) -> Iterator[str]:
    decoder, pixels, backbone = model.transformer_decoder, model.pixel_decoder, model.backbone
    plain = c.TransformerDecoder()
    if decoder.position != "2d":
        yield f"positions of the kind '{decoder.position}' (video)"
    if decoder.queries != "learnable":
        yield "queries that are not learned"
    if model.placed_masks:
        yield "placed masks"
    for name in ("levels", "order", "attention"):
        if getattr(decoder, name) != getattr(plain, name):
            yield f"another decoder.{name} than the paper's"
    if pixels.kind != "msdeformattn":
        yield f"the pixel decoder '{pixels.kind}'"
    elif pixels.heads != decoder.heads or pixels.points != c.MSDeformAttn().points:
        yield "other heads or points in the pixel decoder"
    if model.dim % 32:
        yield f"dim={model.dim}, no multiple of its 32 groups"
    if backbone.kind == "timm" and backbone.name.partition(".")[0] not in _RESNET_DEPTHS:
        yield f"the backbone '{backbone.name}'"


_RESNET_DEPTHS = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}


def _complete(tensors: dict[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """Add what transformers has and nobody reads, so that nothing is missing when it loads."""
    model = card.config.model
    if model.backbone.kind == "swin":
        width = 8 * model.backbone.embed_dim
        tensors[f"{ENCODER}swin.layernorm.weight"] = torch.ones(width)
        tensors[f"{ENCODER}swin.layernorm.bias"] = torch.zeros(width)
    for name in [name for name in tensors if name.endswith("running_mean")]:
        counter = name.replace("running_mean", "num_batches_tracked")
        tensors.setdefault(counter, torch.zeros((), dtype=torch.int64))
    empty = torch.ones(len(card.categories) + 1)
    empty[-1] = card.config.loss.no_object_weight
    tensors["criterion.empty_weight"] = empty
    return tensors


def _config(card: ModelCard) -> dict[str, Any]:
    model, loss, names = card.config.model, card.config.loss, card.categories.names
    decoder, pixels = model.transformer_decoder, model.pixel_decoder
    assert isinstance(pixels, c.MSDeformAttn)
    return {
        "architectures": ["Mask2FormerForUniversalSegmentation"],
        "model_type": "mask2former",
        "backbone_config": _backbone_config(model.backbone),
        "feature_size": model.dim,
        "mask_feature_size": model.dim,
        "hidden_dim": model.dim,
        "encoder_feedforward_dim": pixels.feedforward,
        "encoder_layers": pixels.layers,
        "decoder_layers": decoder.layers + 1,  # theirs counts the predictions
        "num_attention_heads": decoder.heads,
        "dropout": decoder.dropout,
        "dim_feedforward": decoder.feedforward,
        "num_queries": decoder.num_queries,
        "no_object_weight": loss.no_object_weight,
        "class_weight": loss.class_weight,
        "mask_weight": loss.mask_weight,
        "dice_weight": loss.dice_weight,
        "train_num_points": loss.num_points,
        "id2label": {str(label): name for label, name in enumerate(names)},
        "label2id": {name: label for label, name in enumerate(names)},
        OURS: card_to_json(card),
    }


def _backbone_config(backbone: c.TimmBackbone | c.SwinBackbone) -> dict[str, Any]:
    match backbone:
        case c.SwinBackbone():
            return {
                "model_type": "swin",
                "embed_dim": backbone.embed_dim,
                "depths": list(backbone.depths),
                "num_heads": list(backbone.heads),
                "window_size": backbone.window,
                "drop_path_rate": backbone.drop_path,
                "out_features": STAGES,
            }
        case c.TimmBackbone(name=name):
            return {
                "model_type": "resnet",
                "depths": _RESNET_DEPTHS[name.partition(".")[0]],
                "out_features": STAGES,
            }


def _processor(config: c.Config) -> dict[str, Any]:
    model, test = config.model, config.test
    return {
        "image_processor_type": "Mask2FormerImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": test.short_edge, "longest_edge": test.max_size},
        "size_divisor": 32,
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in model.mean],
        "image_std": [value / 255 for value in model.std],
        "ignore_index": 255,
        "do_reduce_labels": False,
    }
