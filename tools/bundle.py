"""Make a bundled model of a run: weights in fp16, figures of the validation split, the licence.

python tools/bundle.py RUN NAME LICENCE DATA_ROOT [key=value ...]

The figures are measured on what is stored, with the settings of the run and its own validation
split; the data's place on this machine is left out.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

import mask2former
from mask2former.build import build_dataset
from mask2former.categories import Task
from mask2former.checkpoint import load_model, save_card, save_model
from mask2former.config import override_config
from mask2former.engine.evaluate import evaluate

MODELS = Path(__file__).parents[1] / "src" / "mask2former" / "models"


def bundle(run: Path, name: str, licence: str, root: Path, settings: list[str]) -> None:
    """Store, measure what is stored, and write its card."""
    network, card = load_model(run)
    unset = ("data.root", "data.fold", "model.backbone.weights", "train.threads")
    config = override_config(card.config, [*(f"{key}=null" for key in unset), *settings])
    card = replace(card, config=config, licence=licence)
    folder = MODELS / name
    save_model(folder, network, card, torch.float16)
    predictor = mask2former.load(folder, device="cpu")
    data = config.data.model_copy(update={"root": root})
    figures: dict[str, float] = {}
    protocols, pictures = [], 0
    for task in tasks_of(config.test.task):
        dataset = build_dataset(data, data.val, task, categories=card.categories)
        report = evaluate(predictor, dataset, task, show=lambda done: print(done, end=" "))
        figures |= {name: round(value, 4) for name, value in report.summary.items()}
        protocols.append(report.protocol)
        pictures = report.pictures
    metrics = {
        "validation": figures,
        "pictures": pictures,
        "protocol": "; ".join(protocols),
        "step": card.metrics["step"],
    }
    save_card(folder, replace(card, metrics=metrics))
    print(f"\nsaved: {folder}", metrics)


def tasks_of(task: Task) -> list[Task]:
    """What a model is measured at: one of whole pictures at all three."""
    return ["panoptic", "semantic", "instance"] if task == "panoptic" else [task]


if __name__ == "__main__":
    bundle(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5:])
