"""OpenVINO in whole numbers: calibrated on pictures, measured before and after."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mask2former import __version__
from mask2former.build import build_split
from mask2former.card import ModelCard
from mask2former.config import Config, override_config
from mask2former.config.recipes import read_overrides
from mask2former.data import Dataset
from mask2former.data.transforms import shorten
from mask2former.engine.evaluate import evaluate
from mask2former.engine.predict import Predictor
from mask2former.export.export import convert
from mask2former.export.files import quiet, replacing, save_openvino
from mask2former.export.graph import TRACED, Graph, make_graph, output_names, prepare
from mask2former.export.plan import Plan
from mask2former.export.verify import fit, pictures, verify
from mask2former.layouts import settle_evaluation
from mask2former.model.mask2former import Mask2Former
from mask2former.runtime import (
    KEY,
    ExportedNetwork,
    Passport,
    Run,
    compile_openvino,
    open_exported,
)

DELICATE = ("sampling_offsets", "mask_head", "class_head", "mask_features", "queries")
"""Parts whose weights stay in floating point: places in the picture, and what masks are made of."""
DELICATE_STEPS = ("ScaledDotProductAttention", "Interpolate")
"""Steps whose inputs stay so too: mask features that hold coordinates (of sampled queries) have
ranges in which 256 steps are too few, and their resizing decides the attention masks."""
TIMED = 7
CPU = torch.device("cpu")
BEARABLE = 0.01
"""The part of a figure that int8 may cost without a warning."""


class Row(NamedTuple):
    """What a form of the model costs and is worth."""

    precision: str
    milliseconds: float
    megabytes: float
    figure: float


class Comparison(NamedTuple):
    """Before and after, on the validation pictures."""

    metric: str
    pictures: int
    rows: list[Row]

    @property
    def loss(self) -> float:
        """The part of the fp32 figure that int8 has lost."""
        before, after = (row.figure for row in self.rows)
        return (before - after) / before if before > 0 else 0.0

    @property
    def warning(self) -> str | None:
        """What to say where int8 costs more than it should."""
        if self.loss <= BEARABLE:
            return None
        return f"int8 loses {self.loss:.0%} of {self.metric}; an export without --int8 keeps it"

    def __str__(self) -> str:
        """A table for a person."""
        head = f"{'precision':<10} {'ms/picture':>10} {'MB':>7} {self.metric:>8}"
        lines = [
            f"{form:<10} {milliseconds:>10.1f} {size:>7.1f} {figure:>8.4f}"
            for form, milliseconds, size, figure in self.rows
        ]
        return "\n".join([head, *lines, f"measured on {self.pictures} validation pictures"])


class Written(NamedTuple):
    """An int8 file, and what is needed to measure it beside the fp32 graph it was made from."""

    runs: dict[str, Run]  # by precision
    sizes: dict[str, float]
    eyes: Predictor  # sees as fp32
    passport: Passport
    validation: Dataset | None


def export_int8(
    network: Mask2Former,
    card: ModelCard,
    plan: Plan,
    path: Path,
    settings: Sequence[str],
    *,
    calibrate: int,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Export to int8, calibrated on training pictures, and measure it beside fp32.

    The fp32 graph is proved first. `settings` name the data, as those of `evaluate`.
    """
    with replacing(path) as beside:
        written = write_int8(network, card, plan, beside, settings, calibrate=calibrate, say=say)
        assert written.validation is not None
        return measure(written, written.validation)


def write_int8(
    network: Mask2Former,
    card: ModelCard,
    plan: Plan,
    path: Path,
    settings: Sequence[str] = (),
    *,
    calibrate: int = 100,
    say: Callable[[str], None] = lambda line: None,
) -> Written:
    """The file alone; without settings it is calibrated on the bundled pictures."""
    graph = make_graph(network.eval(), card, plan)
    passport = Passport(card, plan.outputs, plan.precision, plan.size, plan.frames, __version__)
    config, calibration, validation = card.config, None, None
    if settings:
        config, calibration, validation = open_data(card, settings, say)
    prepared = prepare(graph, plan)
    model = convert(prepared, plan, output_names(card, plan), passport)
    full = compile_openvino(model)
    for check in verify(full, graph, plan._replace(precision="fp32")):
        say(f"fp32 checked: {check}")
    eyes = Predictor(ExportedNetwork(full, passport), card, CPU)
    eyes.card = replace(card, config=config)
    if calibration is None:
        shown = pictures(network.mean.shape[0], None, plan.size or TRACED, 8)
        inputs = [piece.numpy() for piece in fit(shown, graph.value_range).split(1)]
    else:
        say(f"calibrates on {min(calibrate, len(calibration))} pictures")
        inputs = list(calibration_inputs(eyes, calibration, calibrate))
    small = quantise(model, prepared, inputs)
    small.set_rt_info(passport.to_text(), [KEY])
    save_openvino(small, path, plan.precision)
    run, _ = open_exported(path)
    sizes = {"fp32": 4e-6 * count(network), "int8": megabytes(path)}
    return Written({"fp32": full, "int8": run}, sizes, eyes, passport, validation)


def open_data(
    card: ModelCard, settings: Sequence[str], say: Callable[[str], None] = lambda line: None
) -> tuple[Config, Dataset, Dataset]:
    """The settings, the pictures to calibrate on, and those to measure on.

    `say` hears how the data was read. Of `test.*` the task alone may be set: what is measured is
    what the file does.
    """
    typed = read_overrides(settings)
    others = sorted(typed.get("test", {}).keys() - {"task"})
    if others:
        raise ValueError(
            f"--int8 test.{others[0]}: an exported file keeps the model's own; of test.* only "
            "test.task says what is measured"
        )
    config = override_config(card.config, settings)
    task = config.test.task
    config, says = settle_evaluation(config, typed, "val", wanted=task)
    for sentence in says:
        say(f"data: {sentence}")
    validation = build_split(config.data, "val", task, card.categories)
    try:
        trained, _ = settle_evaluation(config, typed, "train", wanted=task)
        return config, build_split(trained.data, "train", task, card.categories), validation
    except (ValueError, OSError) as error:  # a folder with validation pictures alone
        say(f"calibrates on the validation pictures, as those to train on cannot be read: {error}")
        return config, validation, validation


def calibration_inputs(eyes: Predictor, dataset: Dataset, most: int) -> Iterator[np.ndarray]:
    """What the network is given of pictures, evenly chosen."""
    test = eyes.card.config.test
    chosen = np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int)
    for index in chosen.tolist():
        image = dataset.image(index)
        size = shorten((image.shape[-3], image.shape[-2]), test.short_edge, test.max_size)
        yield eyes.prepare(image, eyes.fit(size)).numpy()


def quantise(model: Any, graph: Graph, pictures: Sequence[np.ndarray]) -> Any:
    """NNCF's post-training quantisation of an OpenVINO model."""
    import nncf

    kept = delicate_nodes(model, graph)
    with quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(list(pictures)),
            subset_size=len(pictures),
            target_device=nncf.TargetDevice.CPU,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=kept, types=list(DELICATE_STEPS), validate=False),
        )


def delicate_nodes(model: Any, network: nn.Module) -> list[str]:
    """Products that stay in floating point: of two computed sides, or with delicate weights."""
    weights = [
        tensor.detach().numpy()
        for name, tensor in network.named_parameters()
        if any(part in name for part in DELICATE) and tensor.ndim > 1
    ]
    kept = []
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("MatMul", "Convolution"):
            continue
        source = node.input(1).get_source_output().get_node()
        is_product = source.get_type_name() != "Constant" and not is_weight(source)
        if is_product or any(holds(source, weight) for weight in weights):
            kept.append(node.get_friendly_name())
    return kept


def is_weight(node: Any) -> bool:
    """Whether a value is computed from constants alone."""
    parents = [port.get_source_output().get_node() for port in node.inputs()]
    return bool(parents) and all(
        parent.get_type_name() == "Constant" or is_weight(parent) for parent in parents
    )


def holds(node: Any, weight: np.ndarray) -> bool:
    """Whether a constant is this weight."""
    if node.get_type_name() != "Constant" or tuple(node.shape) != weight.shape:
        return False
    return np.array_equal(node.data, weight)


def measure(written: Written, dataset: Dataset) -> Comparison:
    """Time by turns on one picture; then the metric of each."""
    eyes, runs = written.eyes, written.runs
    predictors = {name: copy.copy(eyes) for name in runs}
    for name, predictor in predictors.items():
        predictor.model = ExportedNetwork(runs[name], written.passport)
    images = next(calibration_inputs(eyes, dataset, 1))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(TIMED):
        for name, run in runs.items():
            start = time.perf_counter()
            run(images)
            seconds[name].append(time.perf_counter() - start)
    reports = {
        name: evaluate(predictor, dataset, predictor.task) for name, predictor in predictors.items()
    }
    rows = [
        Row(
            name,
            1000 * median(seconds[name]),
            written.sizes[name],
            next(iter(report.summary.values())),
        )
        for name, report in reports.items()
    ]
    metric = next(iter(reports["fp32"].summary))
    return Comparison(metric, len(dataset), rows)


def count(network: nn.Module) -> int:
    """How many numbers a network consists of."""
    return sum(tensor.numel() for tensor in network.state_dict().values())


def megabytes(path: Path) -> float:
    """The size of a file, or of all files of a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6
