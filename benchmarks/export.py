"""Exported files beside PyTorch and transformers: time, memory, size and accuracy as a table.

python benchmarks/export.py R50 Swin-T nuclei=DATA; without DATA there is no accuracy.
"""

from __future__ import annotations

import copy
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from mask2former.build import build_model
from mask2former.card import ModelCard
from mask2former.categories import Categories
from mask2former.checkpoint import load_model
from mask2former.config import load_config
from mask2former.convert.huggingface import from_huggingface
from mask2former.engine.evaluate import evaluate
from mask2former.engine.predict import Predictor
from mask2former.export.export import export
from mask2former.export.int8 import CPU, megabytes, open_data, write_int8
from mask2former.export.plan import Plan
from mask2former.export.verify import pictures
from mask2former.machine import Call, alternate, describe_machine, peak_memory
from mask2former.model.mask2former import Mask2Former
from mask2former.runtime import load_exported
from mask2former.structures import Prediction
from mask2former.zoo import find_model
from measure import BACKBONES, RECIPES, build_theirs

FORMS = {
    "OpenVINO fp32": Plan("openvino"),
    "OpenVINO fp32, one size": Plan("openvino", size=(512, 512)),
    "OpenVINO int8, one size": Plan("openvino", size=(512, 512), precision="int8"),
    "ONNX fp32": Plan("onnx"),
}


class Subject(NamedTuple):
    """A model to export, and what it is measured against and on."""

    network: Mask2Former
    card: ModelCard
    theirs: torch.nn.Module | None
    data: str


def find(name: str) -> Subject:
    """A backbone with random weights, or a bundled model, with its data after an equals sign."""
    name, _, data = name.partition("=")
    if name not in BACKBONES:
        return Subject(*load_model(find_model(name)), None, data)
    theirs = build_theirs(name)
    config, categories = load_config(RECIPES[name]), Categories.bundled("coco_panoptic")
    network = build_model(config.model, len(categories))
    network.load_state_dict(from_huggingface(theirs.state_dict()))
    return Subject(network.eval(), ModelCard(config, categories), theirs, "")


def prepare_file(path: str, images: Tensor) -> Call:
    """For `peak_memory`: an exported file that is loaded."""
    network = load_exported(Path(path))
    return lambda: network(images)


def write(subject: Subject, form: str, folder: Path) -> Path:
    """The exported file of a form, proved."""
    path = folder / (form.replace(" ", "_") + (".onnx" if "ONNX" in form else ""))
    plan = FORMS[form]
    rule: Callable = write_int8 if plan.precision == "int8" else export
    more = {"settings": [f"data.root={subject.data}"] if subject.data else []}
    rule(subject.network, subject.card, plan, path, **(more if rule is write_int8 else {}))
    return path


def rows(name: str, forms: list[str], rounds: int) -> Iterator[list[str]]:
    """Lines of the table for one model; everything is timed by turns in this process."""
    subject = find(name)
    images = pictures(3, None, (512, 512), 1)
    ours = Predictor(copy.deepcopy(subject.network), subject.card, CPU)
    with tempfile.TemporaryDirectory() as folder:
        files = {form: write(subject, form, Path(folder)) for form in forms}
        networks = {form: load_exported(path) for form, path in files.items()}
        calls: dict[str, Call] = {"PyTorch, this package": lambda: ours.model(images)}
        calls |= {form: lambda run=run: run(images) for form, run in networks.items()}
        if (theirs := subject.theirs) is not None:
            normalised = (images - subject.network.mean) / subject.network.std
            calls["transformers eager"] = lambda: theirs(normalised)
        with torch.inference_mode():
            expected = ours.model(images)[-1]
            seconds = {form: median(s) for form, s in alternate(calls, rounds).items()}
        slow = seconds.get("transformers eager")
        for form, taken in seconds.items():
            path = files.get(form)
            yield [
                name.partition("=")[0],
                form,
                f"{1000 * taken:.0f}",
                "" if slow is None else f"{slow / taken:.2f}",
                ""
                if path is None
                else f"{(peak_memory(prepare_file, str(path), images) or 0) / 1e6:.0f}",
                "" if path is None else f"{megabytes(path):.0f}",
                "" if path is None else compare(networks[form](images)[-1], expected),
                accuracy(subject, None if path is None else path),
            ]


def compare(found: Prediction, expected: Prediction) -> str:
    """The share of mask pixels that differ from PyTorch's."""
    differ = (found.mask_logits() > 0) != (expected.mask_logits() > 0)
    return f"{100 * differ.float().mean().item():.3f} %"


def accuracy(subject: Subject, path: Path | None) -> str:
    """The model's own figure on its validation pictures, or nothing without data."""
    if not subject.data:
        return ""
    _, _, dataset = open_data(subject.card, [f"data.root={subject.data}"])
    network = copy.deepcopy(subject.network) if path is None else load_exported(path)
    predictor = Predictor(network, subject.card, CPU)
    metric, value = next(iter(evaluate(predictor, dataset, predictor.task).summary.items()))
    return f"{metric} {100 * value:.1f}"


def main() -> None:
    """Print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL[=DATA]")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    head = [
        "model",
        "form",
        "ms",
        "to transformers",
        "memory, MB",
        "file, MB",
        "pixels",
        "accuracy",
    ]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for name in options.models:
        for row in rows(name, options.forms, options.rounds):
            print(f"| {' | '.join(row)} |", flush=True)
    print("\n" + ", ".join(f"{key} {value}" for key, value in describe_machine().items()))


if __name__ == "__main__":
    main()
