"""Other people's Mask2Formers -> our weights and what is to be known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from mask2former import config as c
from mask2former.card import ModelCard
from mask2former.convert.hub_folder import HubFolder, read_hub_folder
from mask2former.convert.huggingface import HUGGINGFACE
from mask2former.convert.network import (
    count_classes,
    count_parameters,
    fit_counters,
    read_network,
)
from mask2former.convert.official import OFFICIAL
from mask2former.convert.openmmlab import HEADS, OPENMMLAB, VIDEO_HEAD
from mask2former.convert.read import Stored, read_hub_tensors, read_tensors
from mask2former.convert.recognise import recognise
from mask2former.convert.rows import Row, to_ours
from mask2former.faults import excerpt
from mask2former.published import licence_of


class Foreign(NamedTuple):
    """Weights in our names (fp32), what is to be known of them, and what had to be assumed."""

    weights: dict[str, Tensor]
    card: ModelCard
    remarks: tuple[str, ...] = ()


def read_foreign(path: Path, recipe: str | None = None) -> Foreign:
    """Read an official `.pkl` or `.pth`, a Hugging Face folder or file, or an OpenMMLab `.pth`.

    Test settings are those of the published model it is recognised as, or of `recipe`. Raises
    ValueError with the file and the mend where it is none of these.
    """
    if path.is_dir():
        hub, stored = read_hub_folder(path), Stored(read_hub_tensors(path), {})
    else:
        stored = read_tensors(path)
        hub = HubFolder(is_video=any(name.startswith(VIDEO_HEAD) for name in stored.tensors))
    tensors = _with_usual_prefix(stored.tensors)
    source, table = _choose_table(tensors, path)
    weights = to_ours(tensors, table, source=f"{path} ({source})")
    try:
        if hub.card is not None and recipe is None:
            backbone = hub.card.config.model.backbone
            return Foreign(fit_counters(weights, backbone), hub.card)
        return _describe(path, weights, hub, hub.names or _class_names(stored.beside), recipe)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _describe(
    path: Path,
    weights: dict[str, Tensor],
    hub: HubFolder,
    names: Sequence[str] | None,
    recipe: str | None,
) -> Foreign:
    network = read_network(weights, heads=hub.heads)
    classes = count_classes(weights)
    found = recognise(
        path,
        classes=classes,
        parameters=count_parameters(weights, network.backbone),
        names=names if names is not None and len(names) == classes else None,
        recipe=recipe,
    )
    config = c.load_config(found.recipe)
    trained_on = config.model.transformer_decoder.position
    position: Literal["2d", "3d"] = "3d" if hub.is_video or trained_on == "3d" else "2d"
    decoder = network.transformer_decoder.model_copy(update={"position": position})
    network = network.model_copy(
        update={"transformer_decoder": decoder, "mean": hub.mean, "std": hub.std}
    )
    test = config.test
    if hub.edges is not None:
        short_edge, max_size = hub.edges
        test = test.model_copy(update={"short_edge": short_edge, "max_size": max_size})
    config = config.model_copy(update={"model": network, "test": test})
    card = ModelCard(config, found.categories, licence_of(path))
    return Foreign(fit_counters(weights, network.backbone), card, found.remarks)


def _with_usual_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what distributed training puts before each, and with a bare model's `model.`"""
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if any(name.startswith("pixel_level_module.") for name in tensors):
        beside = ("class_predictor.", "criterion.")
        return {n if n.startswith(beside) else f"model.{n}": t for n, t in tensors.items()}
    return dict(tensors)


def _choose_table(tensors: Mapping[str, Tensor], path: Path) -> tuple[str, Sequence[Row]]:
    """Whose names these are."""
    first_words = {f"{name.partition('.')[0]}." for name in tensors}
    if "sem_seg_head." in first_words:
        return "official", OFFICIAL
    if first_words & {*HEADS}:
        return "OpenMMLab", OPENMMLAB
    if any(name.startswith("model.pixel_level_module.") for name in tensors):
        return "Hugging Face", HUGGINGFACE
    raise ValueError(
        f"{path} holds no Mask2Former of the official code, of transformers, mmdetection or "
        f"mmsegmentation; its first tensors are {', '.join(map(excerpt, list(tensors)[:3]))}"
    )


def _class_names(beside: Mapping[str, Any]) -> Sequence[str] | None:
    """The classes that OpenMMLab stores beside the weights."""
    match beside.get("meta"):
        case {"dataset_meta": {"classes": [str(), *_] as names}} | {
            "CLASSES": [str(), *_] as names
        }:
            return [str(name) for name in names]
    return None
