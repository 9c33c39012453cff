"""`mask2former evaluate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mask2former.cli.words import (
    Device,
    TaskName,
    as_settings,
    as_split,
    as_task,
    complain,
    say,
    ticker,
    wide_console,
)
from mask2former.config import SplitName, Task


def evaluate(
    model: Annotated[str, typer.Argument(help="bundled name, model folder or Hub id")],
    data: Annotated[
        list[str] | None,
        typer.Argument(help="a data folder, and key=value settings; default: the model's own"),
    ] = None,
    task: TaskName = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "val",
    protocol: Annotated[
        str | None, typer.Option(help="official: as the published model was measured")
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="semantic: average over sizes and mirror images")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="write the figures, or a submission, to this JSON file")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="write a page, tables, plots and the worst pictures here")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="write what is predicted here, as benchmarks' servers take it"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure a model by the official rules of its task."""
    from dataclasses import replace

    from mask2former.config import override_config
    from mask2former.config.recipes import read_overrides
    from mask2former.engine.predict import load
    from mask2former.files import to_json
    from mask2former.layouts import settle_evaluation
    from mask2former.report.run_folder import format_seconds
    from mask2former.writing import demand_writable, make_folder, replace_text

    start = time.perf_counter()
    if output is not None:  # hours later would be too late
        demand_writable(output)
    for folder in (report, predictions):
        if folder is not None:
            make_folder(folder)
    chosen, settings = as_split(split), as_settings(data or ())
    predictor = load(model, device)
    official = as_protocol(protocol, model, predictor.card)
    config = predictor.card.config
    if official is not None:
        config = config.model_copy(update={"test": official.test})
        say(f"the official test settings of {official.name}")
    config = override_config(config, [*(["test.tta={}"] if tta else []), *settings])
    named = as_task(task)
    tasks = [named] if named else official.tasks if official else [config.test.task]
    typed = read_overrides(settings)
    config, found = settle_evaluation(config, typed, chosen, wanted=tasks[0])
    for sentence in found:
        say(f"data: {sentence}")
    predictor.card = replace(predictor.card, config=config)
    if official is not None and predictor.takes_clips and submit(predictor, chosen, output):
        return
    if predictions is not None and predict_unlabelled(predictor, tasks[0], chosen, predictions):
        return
    reports = measure_tasks(
        predictor, tasks, chosen, official, report, model, predictions=predictions
    )
    if output is not None:
        first, *others = ({"task": t, **figures._asdict()} for t, figures in reports.items())
        document = {"model": model, "split": split, **first, **({"also": others} if others else {})}
        replace_text(output, to_json(document, indent=1))
        print(f"saved: {output}")
    pictures = next(iter(reports.values())).pictures
    print(f"{pictures} pictures in {format_seconds(time.perf_counter() - start)}")
    print(f"model licence: {predictor.card.licence}")
    print(f"next: `mask2former predict PICTURES --model {model}` shows what it sees")


def as_protocol(name: str | None, model: str, card: Any) -> Any:
    """How the published model that is most like this one was measured."""
    from mask2former.published.protocol import official_protocol

    if name not in (None, "official"):
        raise ValueError(f"no protocol '{name}'; there is: official")
    return official_protocol(model, card.config, card.categories) if name else None


def submit(predictor: Any, split: SplitName, output: Path | None) -> bool:
    """Write what the server takes, if the split is a video benchmark's own without labels."""
    from mask2former.build import build_split
    from mask2former.data.video import YouTubeVIS
    from mask2former.engine.submission import write_submission

    data = predictor.card.config.data
    dataset = build_split(data, split, "instance", predictor.categories)
    if not isinstance(dataset, YouTubeVIS) or dataset.is_labelled:
        return False
    path = output or Path("results.json")
    write_submission(path, predictor, dataset, show=ticker(len(dataset)))
    print(f"saved: {path} (results of {len(dataset)} videos)")
    print(f"model licence: {predictor.card.licence}")
    print("next: pack it into a zip file and send it to the benchmark's server")
    return True


def predict_unlabelled(predictor: Any, task: Task, split: SplitName, folder: Path) -> bool:
    """Write the predictions for a split that has no labels, if it has none."""
    from mask2former.build import build_split
    from mask2former.engine.submission import predict_all

    data = predictor.card.config.data
    dataset = build_split(data, split, task, predictor.categories)
    if dataset.is_labelled:
        return False
    with keeping(folder, predictor, dataset, task) as keep:
        predict_all(predictor, dataset, task, keep, show=ticker(len(dataset)))
    print(f"{len(dataset)} pictures; nothing is measured, as the split has no annotations")
    print(f"model licence: {predictor.card.licence}")
    print("next: pack it into a zip file and send it to the benchmark's server")
    return True


@contextmanager
def keeping(
    folder: Path | None, predictor: Any, dataset: Any, task: Task
) -> Iterator[Callable[[int, Any], None]]:
    """Hands out what takes the predictions, and says where they are."""
    from mask2former.engine.submission import predictions_into

    if folder is None:
        yield lambda index, result: None
        return
    with predictions_into(folder, predictor, dataset, task) as keep:
        yield keep
    kind = {"instance": "instances.json", "panoptic": "panoptic.json", "semantic": "labels"}[task]
    print(f"saved: {folder / kind}")


def measure_tasks(
    predictor: Any,
    tasks: list[Task],
    split: SplitName,
    official: Any,
    folder: Path | None,
    model: str,
    *,
    predictions: Path | None = None,
) -> dict:
    """Reports by task, printed; of the tasks after the first those that the data allows.

    With a folder each is written there too, several in folders of their names; so are predictions.
    """
    from mask2former.build import build_split
    from mask2former.engine.evaluate import evaluate as measure
    from mask2former.metrics import Inspection

    reports = {}
    data = predictor.card.config.data
    for task in tasks:
        threshold = predictor.card.config.test.show_threshold
        inspection = Inspection(predictor.categories, threshold) if folder else None
        try:
            dataset = build_split(data, split, task, predictor.categories)
            for note in dataset.notes:
                say(f"note: {note}")
            with keeping(predictions, predictor, dataset, task) as keep:
                reports[task] = measure(
                    predictor,
                    dataset,
                    task,
                    show=ticker(len(dataset)),
                    inspection=inspection,
                    keep=keep,
                )
        except ValueError as fault:
            if not reports:
                raise
            complain(f"{task} is left out: {fault}")
            continue
        print_report(reports[task])
        if folder is not None:
            place = folder / task if len(tasks) > 1 else folder
            about = {"model": model, "split": split, "licence": predictor.card.licence}
            write_report(place, predictor, dataset, task, reports[task], inspection, about)
        published = official.published(task) if official else {}
        if published:
            figures = "  ".join(f"{name} {value}" for name, value in published.items())
            other_truth = task == "instance" and data.format == "coco_panoptic"
            remark = " (against the instance annotations, not these)" if other_truth else ""
            print(f"published: {figures} percent{remark}")
    return reports


def write_report(
    folder: Path,
    predictor: Any,
    dataset: Any,
    task: Task,
    report: Any,
    inspection: Any,
    about: dict[str, object],
) -> None:
    """The folder of one evaluation, and where it is."""
    from mask2former.engine.evaluate import draw_beside_truth
    from mask2former.report.evaluation import write_evaluation

    write_evaluation(
        folder,
        f"{task.capitalize()} segmentation by {about['model']}",
        task,
        report,
        inspection,
        name=lambda index: str(dataset.file(index)),
        draw=lambda index: draw_beside_truth(predictor, dataset, index, task),
        about=about,
    )
    counting = inspection.counting()
    if counting is not None:
        print(
            f"counts: {counting.true} objects, {counting.found} found "
            f"({100 * counting.relative_error:+.1f} %); mean absolute error a picture "
            f"{counting.mean_absolute_error:.2f}"
        )
    print(f"saved: {folder}/report.html")


def print_report(report: Any) -> None:
    """The figures of an evaluation as tables."""
    from rich.table import Table

    console = wide_console()
    if len(report.per_class) > 1:
        rows = Table(*report.per_class[0])
        for row in report.per_class:
            rows.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(rows)
    summary = Table("figure", "value")
    for name, value in report.summary.items():
        summary.add_row(name, f"{value:.4f}")
    console.print(summary)
    print(report.protocol)
