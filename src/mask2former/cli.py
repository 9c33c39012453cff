"""The `mask2former` command."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from mask2former import __version__
from mask2former.config import SplitName, Task
from mask2former.faults import explain

INTERRUPTED = 130
"""The exit status of what Ctrl-C stopped, as shells have it."""

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            complain("stopped; what is written is whole, and a training can go on with --resume")
        raise
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        complain(sentence)
        sys.exit(2)


def complain(sentence: str) -> None:
    """One line on stderr."""
    print(f"mask2former: {' '.join(sentence.splitlines())}", file=sys.stderr)


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
    source: Annotated[list[str], typer.Argument(help="pictures, folders, globs or videos")],
    model: Annotated[str, typer.Option(help="bundled name, model folder or Hub id")],
    task: TaskName = None,
    threshold: Annotated[float | None, typer.Option(help="the score a region needs")] = None,
    output: Annotated[Path, typer.Option(help="where the results go")] = Path("predictions"),
    save: Annotated[
        str, typer.Option(help="overlay, coco, panoptic, labels, tracks; all that fit")
    ] = "",
    device: Device = "auto",
) -> None:
    """Segment pictures or videos: overlays to look at, and COCO or PNG files to work with."""
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
    kind = "clips" if predictor.takes_clips else "pictures"
    print(f"{session.done} {kind} in {time.perf_counter() - start:.1f} s{failed}")
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
    reset_head: Annotated[
        bool, typer.Option("--reset-head", help="with --from: begin with a fresh class head")
    ] = False,
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
        config,
        output,
        device=choose_device(device),
        resume=resume,
        start_from=start_from,
        reset_head=reset_head,
        say=say,
    )
    say(f"trained in {format_seconds(time.perf_counter() - start)}")
    say(f"saved: {folder} (best model, last/ to resume from, results.png, samples/, train.log)")
    say(f"next: `mask2former predict PICTURES --model {folder}`")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="bundled name, model folder or Hub id")],
    data: Annotated[
        list[str] | None,
        typer.Argument(help="a data folder, and key=value settings; default: the model's own"),
    ] = None,
    task: TaskName = None,
    split: Annotated[str, typer.Option(help="train or val")] = "val",
    protocol: Annotated[
        str | None, typer.Option(help="official: as the published model was measured")
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="semantic: average over sizes and mirror images")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="write the figures, or a submission, to this JSON file")
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure a model by the official rules of its task."""
    from dataclasses import replace

    from mask2former.config import override_config
    from mask2former.engine.predict import load
    from mask2former.files import to_json
    from mask2former.report.run_folder import format_seconds
    from mask2former.writing import demand_writable, replace_text

    start = time.perf_counter()
    if output is not None:  # hours later would be too late
        demand_writable(output)
    chosen, settings = as_split(split), as_settings(data or ())
    predictor = load(model, device)
    official = as_protocol(protocol, model, predictor.card)
    config = predictor.card.config
    if official is not None:
        config = config.model_copy(update={"test": official.test})
        say(f"the official test settings of {official.name}")
    config = override_config(config, [*(["test.tta={}"] if tta else []), *settings])
    predictor.card = replace(predictor.card, config=config)
    if official is not None and predictor.takes_clips and submit(predictor, chosen, output):
        return
    named = as_task(task)
    tasks = [named] if named else official.tasks if official else [predictor.task]
    reports = measure_tasks(predictor, tasks, chosen, official)
    if output is not None:
        first, *others = ({"task": t, **report._asdict()} for t, report in reports.items())
        document = {"model": model, "split": split, **first, **({"also": others} if others else {})}
        replace_text(output, to_json(document, indent=1))
        print(f"saved: {output}")
    pictures = next(iter(reports.values())).pictures
    print(f"{pictures} pictures in {format_seconds(time.perf_counter() - start)}")
    print(f"model licence: {predictor.card.licence}")
    print(f"next: `mask2former predict PICTURES --model {model}` shows what it sees")


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


def measure_tasks(predictor: Any, tasks: list[Task], split: SplitName, official: Any) -> dict:
    """Reports by task, printed; of the tasks after the first those that the data allows."""
    from mask2former.build import build_split
    from mask2former.engine.evaluate import evaluate as measure

    reports = {}
    data = predictor.card.config.data
    for task in tasks:
        try:
            dataset = build_split(data, split, task, predictor.categories)
            for note in dataset.notes:
                say(f"note: {note}")
            reports[task] = measure(predictor, dataset, task, show=ticker(len(dataset)))
        except ValueError as fault:
            if not reports:
                raise
            complain(f"{task} is left out: {fault}")
            continue
        print_report(reports[task])
        published = official.published(task) if official else {}
        if published:
            figures = "  ".join(f"{name} {value}" for name, value in published.items())
            other_truth = task == "instance" and data.format == "coco_panoptic"
            remark = " (against the instance annotations, not these)" if other_truth else ""
            print(f"published: {figures} percent{remark}")
    return reports


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(help="official .pkl, Hugging Face folder, mmdet .pth, or any model")
    ],
    destination: Annotated[Path, typer.Argument(help="the folder to write")],
    to: Annotated[str, typer.Option(help="mask2former or huggingface")] = "mask2former",
    recipe: Annotated[
        str | None, typer.Option(help="whose settings and classes it has, if it is not plain")
    ] = None,
) -> None:
    """Turn other people's weights into a model folder, or a model into one of transformers."""
    from mask2former.checkpoint import load_model, save_model
    from mask2former.convert.hub_folder import save_hub_folder
    from mask2former.zoo import find_model

    if to not in ("mask2former", "huggingface"):
        raise ValueError(f"no form '{to}'; choose mask2former or huggingface")
    demand_new_folder(destination)
    network, card = load_model(find_model(source), recipe)
    if to == "huggingface":
        save_hub_folder(destination, network.state_dict(), card)
    else:
        save_model(destination, network, card)
    task, classes = card.config.test.task, len(card.categories)
    print(f"{task}, {classes} classes: {', '.join(card.categories.names[:5])}, ...")
    print(f"model licence: {card.licence}")
    print(f"saved: {destination}")
    print(f"next: `mask2former predict PICTURES --model {destination}`")


def demand_new_folder(folder: Path) -> None:
    """Refuse to write a model over another."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is no empty folder; name a new one")


@app.command()
def models(
    words: Annotated[
        list[str] | None, typer.Argument(help="parts of the name, such as ade20k swin")
    ] = None,
    task: TaskName = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs to read")] = False,
) -> None:
    """List the models that ship with the package, and the published ones it can load."""
    from rich.table import Table

    from mask2former.zoo import list_models, models_folder

    found = list_models(words or (), as_task(task))
    if as_json:
        print(json.dumps([model._asdict() for model in found], indent=1))
        return
    if not found:
        raise ValueError(f"no model's name has {' and '.join(words or ())}; leave words out")
    table = Table("name", "task", "size", "figures (percent)", box=None, padding=(0, 2, 0, 0))
    for model in found:
        size = "" if model.parameters is None else f"{model.parameters / 1e6:.0f} M"
        figures = "  ".join(f"{name} {value:.1f}" for name, value in model.figures.items())
        table.add_row(model.name, model.task, size, figures)
    wide_console().print(table)
    for licence in dict.fromkeys(model.licence for model in found):
        names = [model.name for model in found if model.licence == licence]
        print(f"licence of {names[0] if len(names) == 1 else f'{len(names)} models'}: {licence}")
    print(f"published weights are kept in {models_folder()}")
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


@app.command()
def doctor(
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="for programs to read")] = False,
) -> None:
    """Tell what this installation can do, and try it; exit status 2 where it does not work."""
    from mask2former.engine.doctor import examine

    diagnosis = examine(device)
    if as_json:
        print(json.dumps(diagnosis.to_json(), indent=1))
    else:
        wide_console().print(diagnosis.to_table())
        print(f"next: {diagnosis.next}")
    if diagnosis.fault is not None:
        complain(diagnosis.fault)
        sys.exit(2)


@app.command()
def benchmark(
    model: Annotated[str, typer.Argument(help="bundled name, model folder or Hub id")],
    size: Annotated[
        list[str] | None, typer.Option(help="HxW of the picture, as 512x512; more than one is fine")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="pictures at a time")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="of the CPU")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs to read")] = False,
    device: Device = "auto",
) -> None:
    """Measure a model on this machine: time, memory, and how well the processor is used."""
    from mask2former.benchmark import PROTOCOL
    from mask2former.benchmark import benchmark as measure

    start = time.perf_counter()
    sizes = [as_size(text) for text in size or ()]
    found = measure(model, sizes, batch=batch, threads=threads, device=device)
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
        return
    wide_console().print(found.to_table())
    machine = ", ".join(f"{name} {value}" for name, value in found.machine.items())
    used = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    print(f"{found.task}, batch {found.batch}, {used}, on {found.device}; {machine}")
    print(PROTOCOL)
    print(f"measured in {time.perf_counter() - start:.1f} s")
    print(f"next: `mask2former benchmark {model} --size 512x512 --json` for programs to read")


def as_size(text: str) -> tuple[int, int]:
    """Read the height and width of a picture."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise ValueError(f"--size {text}: write height x width in pixels, as 800x1333")
    return int(height), int(width)


def as_task(name: str | None) -> Task | None:
    """Check a task's name."""
    known = get_args(Task)
    if name is not None and name not in known:
        raise ValueError(f"no task '{name}'; choose {', '.join(known)}")
    return name  # pyrefly: ignore[bad-return]


def as_protocol(name: str | None, model: str, card: Any) -> Any:
    """How the published model that is most like this one was measured."""
    from mask2former.published.protocol import official_protocol

    if name not in (None, "official"):
        raise ValueError(f"no protocol '{name}'; there is: official")
    return official_protocol(model, card.config, card.categories) if name else None


def as_split(name: str) -> SplitName:
    """Check a split's name."""
    known = get_args(SplitName)
    if name not in known:
        raise ValueError(f"no split '{name}'; choose {' or '.join(known)}")
    return name  # pyrefly: ignore[bad-return]


def as_settings(words: Sequence[str]) -> list[str]:
    """Read the words of `evaluate`: a data folder, and settings that leave the model as it is."""
    settings = [as_setting(word) for word in words]
    for setting in settings:
        if not setting.startswith(("data.", "test.")):
            raise ValueError(f"'{setting}': only data.* and test.* can be set to evaluate a model")
    return settings


def as_setting(word: str) -> str:
    """A setting as it is, a folder as the setting that names it: quoted, as `2017` is no number."""
    # os.path answers False, where pathlib raises, for a setting too long to name a file.
    is_folder = "=" not in word or os.path.isdir(word)  # noqa: PTH112
    return f"data.root={json.dumps(word, ensure_ascii=False)}" if is_folder else word


def say(line: str) -> None:
    """Print at once, also into a pipe; of several processes (torchrun) the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
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
