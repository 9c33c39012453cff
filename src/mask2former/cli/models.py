"""`mask2former convert`, `models` and `recipes`: what there is, and turning it into other forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mask2former.cli.words import TaskName, as_task, wide_console


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


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="write this recipe, or a model's settings, as YAML")
    ] = None,
    settings: Annotated[list[str] | None, typer.Argument(help="key=value, dotted keys")] = None,
) -> None:
    """List the recipes that ship with the package; with a name write one, each setting told.

    `mask2former recipes nuclei > mine.yaml` is the start of a recipe of your own.
    """
    if name is None:
        list_recipes()
    else:
        write(name, settings or [])


def list_recipes() -> None:
    """A table of the recipes that ship with the package."""
    from rich.table import Table

    from mask2former.config import load_config
    from mask2former.config.recipes import recipe_names
    from mask2former.engine.auto import RECIPE as AUTO

    table = Table("recipe", "task", "backbone", "steps", "batch")
    for name in recipe_names():
        config = load_config(name)
        if name == AUTO:
            table.add_row(name, *["chosen from the data"] * 2, "", "")
            continue
        backbone = config.model.backbone
        shown = backbone.name if backbone.kind == "timm" else f"swin {backbone.embed_dim}"
        train = config.train
        table.add_row(name, config.test.task, shown, str(train.steps), str(train.batch_size))
    wide_console().print(table)
    print("next: `mask2former train RECIPE data.root=FOLDER`")
    print("`mask2former recipes RECIPE > mine.yaml` writes one to change, with all its settings")


def write(name: str, settings: list[str]) -> None:
    """The YAML of a recipe, or of the settings that a model folder holds."""
    from mask2former.checkpoint import load_card
    from mask2former.config import load_config, override_config
    from mask2former.config.recipes import recipe_names
    from mask2former.config.reference import write_recipe
    from mask2former.engine.auto import RECIPE as AUTO

    if name == AUTO:
        raise ValueError(
            "auto is no fixed recipe: it chooses from the data; `mask2former train auto "
            "data.root=FOLDER` says what, and `mask2former recipes RUN` then writes what it chose"
        )
    if name not in recipe_names() and Path(name).is_dir():
        config = override_config(load_card(Path(name)).config, settings)
    else:
        config = load_config(name, settings)
    print(f"# {' '.join([name, *settings])}")
    print(write_recipe(config), end="")
