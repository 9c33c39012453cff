"""`mask2former explain`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mask2former.cli.words import Device, TestSettings


def explain(
    image: Annotated[Path, typer.Argument(help="a picture")],
    model: Annotated[str, typer.Option(help="bundled name, model folder or Hub id")],
    settings: TestSettings = None,
    queries: Annotated[
        str, typer.Option(help="numbers of queries, with commas between; default: the surest")
    ] = "",
    most: Annotated[int, typer.Option(min=1, help="how many of the surest queries")] = 3,
    output: Annotated[Path, typer.Option(help="where the pictures go")] = Path("explained"),
    device: Device = "auto",
) -> None:
    """Show masked attention at work: where each layer may look, and where it looks."""
    from mask2former.engine.insight import look_inside
    from mask2former.engine.predict import load
    from mask2former.report.insight import draw_query
    from mask2former.writing import make_folder, replace_file

    start = time.perf_counter()
    asked = [as_query(word) for word in queries.split(",") if word.strip()]
    predictor = load(model, device).with_settings(*(settings or ()))
    pixels = predictor.read(image)
    found = look_inside(predictor, pixels, asked, most=most)
    make_folder(output)
    print("share of each query's attention inside its final mask, layer by layer:")
    for place, query in enumerate(found.queries):
        name = predictor.categories[found.labels[place]].name
        title = f"query {query}: {name} {found.scores[place]:.2f}"
        sheet = draw_query(
            pixels,
            title,
            found.masks[-1, place],
            [glance.allowed[place] for glance in found.glances],
            [glance.attention[place] for glance in found.glances],
            [
                f"layer {layer}, 1/{'+'.join(map(str, glance.strides))}: {glance.inside[place]:.0%}"
                for layer, glance in enumerate(found.glances, start=1)
            ],
        )
        file = output / f"{image.stem}_query_{query}.png"
        replace_file(file, sheet.save)
        shares = "  ".join(f"{glance.inside[place]:.2f}" for glance in found.glances)
        print(f"{title}:  {shares}\nsaved: {file}")
    print(f"explained in {time.perf_counter() - start:.1f} s")
    print(f"next: `mask2former predict {image} --model {model}` for the whole result")


def as_query(word: str) -> int:
    """Read the number of a query."""
    if not word.strip().isdecimal():
        raise ValueError(f"--queries: '{word.strip()}' is no number of a query; write 3,17")
    return int(word)
