"""`mask2former export`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mask2former.cli.words import as_settings, as_size, complain, say


def export(
    model: Annotated[str, typer.Argument(help="bundled name, model folder or Hub id")],
    form: Annotated[str, typer.Option("--format", help="openvino or onnx")],
    int8: Annotated[
        list[str] | None,
        typer.Option(help="OpenVINO: a data folder, or settings, to quantise and measure with"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="default: model.onnx, or the folder model_openvino")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="HxW: quicker, for pictures padded to it; default: any size"),
    ] = None,
    outputs: Annotated[
        str, typer.Option(help="network, or result: with post-processing in the graph")
    ] = "network",
    frames: Annotated[
        int | None, typer.Option(min=1, help="of a video model's clips; default: 2")
    ] = None,
    half: Annotated[bool, typer.Option("--fp16", help="OpenVINO: store weights in fp16")] = False,
    calibrate: Annotated[
        int, typer.Option(min=1, help="--int8: with so many training pictures")
    ] = 100,
) -> None:
    """Write a file that runs without PyTorch, and prove it against PyTorch."""
    from mask2former.checkpoint import load_model
    from mask2former.export.export import export as write
    from mask2former.export.files import default_path, demand_libraries, demand_new
    from mask2former.export.plan import make_plan
    from mask2former.report.run_folder import format_seconds
    from mask2former.zoo import find_model

    start = time.perf_counter()
    settings = as_settings(int8 or ())
    network, card = load_model(find_model(model))
    asked = as_size(size) if size else None
    plan = make_plan(
        card, form, outputs=outputs, size=asked, frames=frames, half=half, int8=bool(settings)
    )
    path = output or default_path(plan.format)
    demand_libraries(plan.format, *(["nncf"] if settings else []))
    demand_new(path, plan.format)
    if settings:
        from mask2former.export.int8 import export_int8

        table = export_int8(network, card, plan, path, settings, calibrate=calibrate, say=say)
        print(table)
        if table.warning is not None:
            complain(f"warning: {table.warning}")
    else:
        write(network, card, plan, path, say=say)
    shape = "any size" if plan.size is None else "x".join(map(str, plan.size))
    print(f"saved: {path} ({plan.format}, {plan.precision}, {shape}, outputs: {plan.outputs})")
    print(f"exported in {format_seconds(time.perf_counter() - start)}")
    print(f"model licence: {card.licence}")
    if plan.outputs == "network":
        print(f"next: `mask2former predict PICTURES --model {path}`")
    else:
        print(f"next: run it without PyTorch, as examples/{EXAMPLES[plan.format]} does")


EXAMPLES = {"openvino": "openvino_picture.py", "onnx": "onnxruntime_picture.py"}
