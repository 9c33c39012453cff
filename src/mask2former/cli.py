"""The `mask2former` command."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from mask2former import __version__
from mask2former.config import SplitName, Task

app = typer.Typer(
    help="Segment images with the Masked-attention Mask Transformer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
TaskName = Annotated[str | None, typer.Option(help="semantic, instance or panoptic")]


def main() -> None:
    """Run a command; a fault of usage or data is one sentence and exit status 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        complain(str(error))
        sys.exit(2)


def complain(sentence: str) -> None:
    """One line on stderr."""
    print(f"mask2former: {sentence}", file=sys.stderr)


def print_version(wanted: bool) -> None:
    """Answer `--version`, and nothing else."""
    if wanted:
        print(f"mask2former {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="tell and exit")
    ] = False,
) -> None:
    """Hold the options of the bare command; the text of its help stands above."""


@app.command()
def predict(
    source: Annotated[list[str], typer.Argument(help="pictures, folders or globs")],
    model: Annotated[str, typer.Option(help="bundled name, model folder or Hub id")],
    task: TaskName = None,
    threshold: Annotated[float | None, typer.Option(help="the score a region needs")] = None,
    output: Annotated[Path, typer.Option(help="where the results go")] = Path("predictions"),
    save: Annotated[str, typer.Option(help="overlay, coco, panoptic, labels; all that fit")] = "",
    device: Device = "auto",
) -> None:
    """Segment pictures: overlays to look at, and COCO or PNG files to work with."""
    from mask2former.engine.predict import load
    from mask2former.engine.predict_files import Session, find_pictures

    start = time.perf_counter()
    files = find_pictures(source, output=output)
    predictor = load(model, device)
    wanted = as_task(task) or predictor.task
    if threshold is not None and wanted == "semantic":
        raise ValueError("--threshold: a semantic map gives every pixel a class; leave it out")
    session = Session(
        predictor,
        wanted,
        output,
        threshold,
        [name.strip() for name in save.split(",") if name.strip()],
        complain=complain,
    )
    session.run(files)
    failed = f", {session.failed} could not be read" if session.failed else ""
    print(f"{session.done} pictures in {time.perf_counter() - start:.1f} s{failed}")
    for written in session.written:
        print(f"saved: {written}")
    print(f"model licence: {predictor.card.licence}")
    print("next: `mask2former train RECIPE data.root=FOLDER` trains on your own pictures")
    if session.failed:
        sys.exit(2)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="a bundled recipe or a .yaml file")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value, dotted keys")] = None,
    start_from: Annotated[
        str | None, typer.Option("--from", help="start from this model's weights")
    ] = None,
    output: Annotated[Path, typer.Option(help="the run folder")] = Path("run"),
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the run in --output")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train a recipe on your data; the run folder is a model folder."""
    from mask2former.config import load_config, override_config
    from mask2former.engine import state
    from mask2former.engine.device import choose_device
    from mask2former.engine.train import train as run
    from mask2former.report.run_folder import format_seconds

    start = time.perf_counter()
    if resume:
        config = override_config(state.load_config(output), settings or ())
        say(f"going on with the settings stored in {output}, whatever {recipe} says")
    else:
        config = load_config(recipe, settings or ())
    folder = run(
        config, output, device=choose_device(device), resume=resume, start_from=start_from, say=say
    )
    print(f"trained in {format_seconds(time.perf_counter() - start)}")
    print(f"saved: {folder} (best model, last/ to resume from, results.png, samples/, train.log)")
    print(f"next: `mask2former predict PICTURES --model {folder}`")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="bundled name, model folder or Hub id")],
    data: Annotated[
        list[str] | None,
        typer.Argument(help="a data folder, and key=value settings; default: the model's own"),
    ] = None,
    task: TaskName = None,
    split: Annotated[str, typer.Option(help="train or val")] = "val",
    output: Annotated[Path | None, typer.Option(help="write the figures to this JSON file")] = None,
    device: Device = "auto",
) -> None:
    """Measure a model by the official rules of its task."""
    from dataclasses import replace

    from mask2former.build import build_split
    from mask2former.config import override_config
    from mask2former.engine.evaluate import evaluate as measure
    from mask2former.engine.predict import load
    from mask2former.files import replace_text, to_json
    from mask2former.report.run_folder import format_seconds

    start = time.perf_counter()
    chosen, settings = as_split(split), as_settings(data or ())
    predictor = load(model, device)
    config = override_config(predictor.card.config, settings)
    predictor.card = replace(predictor.card, config=config)
    wanted = as_task(task) or predictor.task
    dataset = build_split(config.data, chosen, wanted, predictor.categories)
    report = measure(predictor, dataset, wanted, show=ticker(len(dataset)))
    print_report(report)
    if output is not None:
        document = {"model": model, "task": wanted, "split": split, **report._asdict()}
        output.parent.mkdir(parents=True, exist_ok=True)
        replace_text(output, to_json(document, indent=1))
        print(f"saved: {output}")
    print(f"{report.pictures} pictures in {format_seconds(time.perf_counter() - start)}")
    print(f"next: `mask2former predict PICTURES --model {model}` shows what it sees")


@app.command()
def models() -> None:
    """List the models that ship with the package."""
    from rich.table import Table

    from mask2former.checkpoint import load_card
    from mask2former.zoo import bundled_models

    table = Table("name", "task", "classes", "measured", "licence")
    for name, folder in bundled_models().items():
        card = load_card(folder)
        figures = card.metrics.get("validation", {})
        measured = "  ".join(f"{key} {value:.3f}" for key, value in list(figures.items())[:2])
        classes = ", ".join(card.categories.names[:4])
        classes += f", ... ({len(card.categories)})" if len(card.categories) > 4 else ""
        table.add_row(name, card.config.test.task, classes, measured, card.licence)
    wide_console().print(table)
    print("next: `mask2former predict PICTURES --model NAME`; a model folder or Hub id works too")


@app.command()
def recipes() -> None:
    """List the recipes that ship with the package."""
    from rich.table import Table

    from mask2former.config import load_config
    from mask2former.recipe_tree import recipe_names

    table = Table("recipe", "task", "backbone", "steps", "batch")
    for name in recipe_names():
        config = load_config(name)
        backbone = config.model.backbone
        shown = backbone.name if backbone.kind == "timm" else f"swin {backbone.embed_dim}"
        train = config.train
        table.add_row(name, config.test.task, shown, str(train.steps), str(train.batch_size))
    wide_console().print(table)
    print("next: `mask2former train RECIPE data.root=FOLDER`")


def as_task(name: str | None) -> Task | None:
    """Check a task's name."""
    known = get_args(Task)
    if name is not None and name not in known:
        raise ValueError(f"no task '{name}'; choose {', '.join(known)}")
    return name  # pyrefly: ignore[bad-return]


def as_split(name: str) -> SplitName:
    """Check a split's name."""
    known = get_args(SplitName)
    if name not in known:
        raise ValueError(f"no split '{name}'; choose {' or '.join(known)}")
    return name  # pyrefly: ignore[bad-return]


def as_settings(words: Sequence[str]) -> list[str]:
    """Read the words of `evaluate`: a data folder, and settings that leave the model as it is."""
    settings = [word if "=" in word else f"data.root={word}" for word in words]
    for setting in settings:
        if not setting.startswith(("data.", "test.")):
            raise ValueError(f"'{setting}': only data.* and test.* can be set to evaluate a model")
    return settings


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    print(line, flush=True)


def ticker(count: int) -> Any:
    """Shows on a terminal how many pictures are done."""
    if not sys.stderr.isatty():
        return lambda done: None

    def show(done: int) -> None:
        print(f"\r{done}/{count}", end="\n" if done == count else "", file=sys.stderr, flush=True)

    return show


def wide_console() -> Any:
    """A console that cuts no table in a pipe, where nobody tells the width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 1000)


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
