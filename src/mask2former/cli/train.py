"""`mask2former train`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mask2former.cli.words import Device, is_folder, say


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="auto, a bundled recipe or a .yaml file")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value, dotted keys; and a data folder")
    ] = None,
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
    from mask2former.config.recipes import name_folder
    from mask2former.engine import api
    from mask2former.report.run_folder import format_seconds

    start = time.perf_counter()
    words = [name_folder(word) if is_folder(word) else word for word in settings or ()]
    if resume:
        if recipe is not None and "=" in recipe:  # a setting, as no recipe is needed
            words.insert(0, recipe)
            recipe = None
        remark = "" if recipe is None else f", whatever {recipe} says"
        say(f"going on with the settings stored in {output}{remark}")
    folder = api.train(
        recipe,
        *words,
        output=output,
        start_from=start_from,
        reset_head=reset_head,
        resume=resume,
        device=device,
        say=say,
    )
    say(f"trained in {format_seconds(time.perf_counter() - start)}")
    say(f"saved: {folder} (best model, last/ to resume from, results.png, samples/, train.log)")
    say(f"next: `mask2former predict PICTURES --model {folder}`")
