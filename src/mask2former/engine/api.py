"""Training and measuring from Python, as the commands `train` and `evaluate` do it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mask2former.build import build_split
from mask2former.config import Config, SplitName, Task, load_config, override_config
from mask2former.config.recipes import name_folder, read_overrides
from mask2former.data import Dataset
from mask2former.engine import state
from mask2former.engine.auto import RECIPE as AUTO
from mask2former.engine.auto import prepare
from mask2former.engine.device import choose_device
from mask2former.engine.evaluate import evaluate as measure
from mask2former.engine.predict import Predictor, load
from mask2former.engine.train import train as run
from mask2former.layouts import settle, settle_evaluation
from mask2former.report.evaluation import Report

Say = Callable[[str], None]


def train(
    recipe: str | None,
    *settings: str,
    output: str | Path,
    data: tuple[Dataset, Dataset] | None = None,
    start_from: str | None = None,
    reset_head: bool = False,
    resume: bool = False,
    device: str = "auto",
    say: Say = print,
) -> Path:
    """Train a recipe (`auto`, a bundled name, a .yaml file), and give the run's folder for `load`.

    `settings` are dotted overrides such as `data.root=my_cells`. `data` are data sets of your own
    to train on and to validate on, in place of a folder's: anything with the methods of
    `mask2former.data.Dataset`, of the recipe's task. `start_from` names a model whose weights are
    taken over where they fit. With `resume` the run in `output` goes on, and needs no recipe.

    Raises ValueError, a sentence that says how to mend it, for what is wrong with settings or data.
    """
    began, output, chosen = time.perf_counter(), Path(output), choose_device(device)
    if resume:
        config = override_config(state.load_config(output), settings)
    elif recipe is None:
        raise ValueError(
            "train needs a recipe: auto, a .yaml file, or one that `mask2former recipes` lists"
        )
    elif recipe == AUTO and data is None:
        config = prepare(settings, chosen, start_from=start_from, say=say)
    elif recipe == AUTO:
        raise ValueError("auto chooses from a folder's annotations; name another recipe")
    else:
        config = load_config(recipe, settings)
        if data is None:
            config = _find_data(config, settings, say)
    return run(
        config,
        output,
        device=chosen,
        data=data,
        resume=resume,
        start_from=start_from,
        reset_head=reset_head,
        say=say,
        began=began,
    )


def evaluate(
    model: Predictor | str,
    data: str | Path | Dataset | None = None,
    *settings: str,
    task: Task | None = None,
    split: SplitName = "val",
    device: str = "auto",
    say: Say = print,
) -> Report:
    """Measure a model by the official rules of its task: `summary`, `per_class`, `protocol`.

    `data` is a folder in any known layout, a data set of your own, or None: what the model was
    validated on. `settings` are overrides of `data.*` and `test.*`.
    """
    predictor = copy.copy(model) if isinstance(model, Predictor) else load(model, device)
    named = [name_folder(data)] if isinstance(data, str | Path) else []
    config = override_config(predictor.card.config, [*named, *settings])
    task = task or config.test.task
    if data is None or isinstance(data, str | Path):
        typed = read_overrides([*named, *settings])
        config, sentences = settle_evaluation(config, typed, split, wanted=task)
        for sentence in sentences:
            say(f"data: {sentence}")
        data = build_split(config.data, split, task, predictor.categories)
    predictor.card = replace(predictor.card, config=config)
    return measure(predictor, data, task)


def _find_data(config: Config, settings: Sequence[str], say: Say) -> Config:
    config, sentences = settle(config, read_overrides(settings), wanted=config.test.task)
    for sentence in sentences:
        say(f"data: {sentence}")
    return config
