"""`mask2former predict`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mask2former.cli.words import Device, TaskName, as_task, complain, part_settings

SHRUNK = 3.0
"""How many times a picture may be shrunk before a person should hear of it."""


def predict(
    source: Annotated[
        list[str],
        typer.Argument(help="pictures, folders, globs or videos; and test.* settings, key=value"),
    ],
    model: Annotated[str, typer.Option(help="bundled name, model folder or Hub id")],
    task: TaskName = None,
    threshold: Annotated[float | None, typer.Option(help="the score a region needs")] = None,
    output: Annotated[Path, typer.Option(help="where the results go")] = Path("predictions"),
    save: Annotated[
        str,
        typer.Option(
            help="overlay, coco, coco_polygons, panoptic, labels, masks, yolo, labelme, geojson, "
            "csv, tracks, with commas between; default: overlay and the task's own file"
        ),
    ] = "",
    tile: Annotated[
        int | None,
        typer.Option(help="for large pictures: go through them in squares of so many pixels"),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="of the tiles, in pixels; default: an eighth")
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="by PyTorch's compiler: for many pictures of a few sizes"),
    ] = False,
    device: Device = "auto",
) -> None:
    """Segment pictures or videos: overlays to look at, and COCO or PNG files to work with."""
    from mask2former.engine.predict import check_threshold, load
    from mask2former.engine.predict_files import Session, find_pictures
    from mask2former.engine.tiles import as_tiling

    start = time.perf_counter()
    sources, settings = part_settings(source)
    files = find_pictures(sources, output=output)
    predictor = load(model, device).with_settings(*settings)
    if compiled:
        predictor.compile()
    wanted = as_task(task) or predictor.task
    if threshold is not None:
        check_threshold(threshold, wanted)
    if wanted == "semantic" and all(predictor.categories.is_thing):
        print("note: this model knows objects alone, and a semantic map gives every pixel one")
    session = Session(
        predictor,
        wanted,
        output,
        threshold,
        [name.strip() for name in save.split(",") if name.strip()],
        complain=complain,
        tiling=as_tiling(tile, overlap),
    )
    session.run(files)
    failed = f", {session.failed} could not be read" if session.failed else ""
    kind = "clips" if predictor.takes_clips else "pictures"
    print(f"{session.done} {kind} in {time.perf_counter() - start:.1f} s{failed}")
    for written in session.written:
        print(f"saved: {written}")
    if session.shrunk >= SHRUNK and not predictor.takes_clips:
        side = predictor.card.config.test.short_edge
        print(
            f"note: pictures were shrunk up to {session.shrunk:.1f} times for the network; what is "
            f"small in them is found by --tile {side}"
        )
    print(f"model licence: {predictor.card.licence}")
    print("next: `mask2former train auto data.root=FOLDER` trains on your own pictures")
    if session.failed:
        sys.exit(2)
