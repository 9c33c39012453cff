"""Exported files beside PyTorch and transformers: time, memory, size and accuracy as a table.

python benchmarks/export.py R50 Swin-T nuclei=DATA street=DATA; without DATA there is no accuracy.
"""

from __future__ import annotations

import copy
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from mask2former.build import build_model
from mask2former.card import ModelCard
from mask2former.categories import Categories
from mask2former.checkpoint import load_model
from mask2former.config import load_config, override_config
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

SIZE = (512, 512)
FORMS = {
    "OpenVINO fp32": Plan("openvino"),
    "OpenVINO fp32, one size": Plan("openvino", size=SIZE),
    "OpenVINO int8, one size": Plan("openvino", size=SIZE, precision="int8"),
    "ONNX fp32": Plan("onnx"),
    "ONNX fp32, one size": Plan("onnx", size=SIZE),
}
SIZES = {"nuclei": (512, 704), "street": (480, 640)}
"""Into which the pictures fit that a model is measured on; the others' is that of the forms."""
TASKS = {"street": "semantic"}
"""Which of a model's tasks is measured, where it is not its own."""


class Subject(NamedTuple):
    """A model to export, and what it is measured against and on."""

    network: Mask2Former
    card: ModelCard
    theirs: torch.nn.Module | None
    data: str
    size: tuple[int, int]


def find(name: str) -> Subject:
    """A backbone with random weights, or a bundled model, with its data after an equals sign."""
    name, _, data = name.partition("=")
    if name not in BACKBONES:
        network, card = load_model(find_model(name))
        if name in TASKS:
            config = override_config(card.config, [f"test.task={TASKS[name]}"])
            card = replace(card, config=config)
        return Subject(network, card, None, data, SIZES.get(name, SIZE))
    theirs = build_theirs(name)
    config, categories = load_config(RECIPES[name]), Categories.bundled("coco_panoptic")
    network = build_model(config.model, len(categories))
    network.load_state_dict(from_huggingface(theirs.state_dict()))
    return Subject(network.eval(), ModelCard(config, categories), theirs, "", SIZE)


def prepare_file(path: str, images: Tensor) -> Call:
    """For `peak_memory`: an exported file that is loaded."""
    network = load_exported(Path(path))
    return lambda: network(images)


def write(subject: Subject, form: str, folder: Path) -> Path:
    """The exported file of a form, proved; one that is there already is taken as it is."""
    name = form.replace(",", "").replace(" ", "_").lower()
    path = folder / (f"{name}.onnx" if "ONNX" in form else name)
    if path.exists():
        return path
    plan = FORMS[form]
    if plan.size is not None:
        plan = plan._replace(size=subject.size)
    if plan.precision == "int8":
        settings = [f"data.root={subject.data}"] if subject.data else []
        write_int8(subject.network, subject.card, plan, path, settings)
    else:
        export(subject.network, subject.card, plan, path)
    return path


def rows(name: str, forms: list[str], rounds: int, folder: Path) -> Iterator[list[str]]:
    """Lines of the table for one model; everything is timed by turns in this process."""
    subject = find(name)
    images = pictures(3, None, subject.size, 1)
    ours = Predictor(copy.deepcopy(subject.network), subject.card, CPU)
    files = {form: write(subject, form, folder) for form in forms}
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
        figures = [f"{1000 * taken:.0f}", "" if slow is None else f"{slow / taken:.2f}"]
        if path is None:
            figures += ["", "", ""]
        else:
            needed = (peak_memory(prepare_file, str(path), images) or 0) / 1e6
            differ = compare(networks[form](images)[-1], expected)
            figures += [f"{needed:.0f}", f"{megabytes(path):.0f}", differ]
        known = form == "transformers eager"
        height, width = subject.size
        model = f"{name.partition('=')[0]}, {height} x {width}"
        yield [model, form, *figures, "" if known else accuracy(subject, path)]


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
    parser.add_argument(
        "--files", type=Path, metavar="FOLDER", help="keep the exported files, and take those there"
    )
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
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.models:
            folder = (options.files or Path(temporary)) / name.partition("=")[0]
            for row in rows(name, options.forms, options.rounds, folder):
                print(f"| {' | '.join(row)} |", flush=True)
    print("\n" + ", ".join(f"{key} {value}" for key, value in describe_machine().items()))


if __name__ == "__main__":
    main()
