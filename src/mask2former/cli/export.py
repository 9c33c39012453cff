"""`mask2former export`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mask2former.cli.words import as_settings, as_size, complain, say


def export(
    model: Annotated[str, typer.Argument(help="bundled name, model folder or Hub id")],
    form: Annotated[str, typer.Option("--format", help="openvino or onnx")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="test.* settings to keep in the file, such as test.threshold=0.5"),
    ] = None,
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
        int | None, typer.Option(min=1, help="--int8: with so many training pictures (100)")
    ] = None,
) -> None:
    """Write a file that runs without PyTorch, and prove it against PyTorch."""
    from dataclasses import replace

    from mask2former.checkpoint import load_model
    from mask2former.config import override_config
    from mask2former.export.export import export as write
    from mask2former.export.files import default_path, demand_libraries, demand_place
    from mask2former.export.plan import as_format, make_plan
    from mask2former.report.run_folder import format_seconds
    from mask2former.zoo import find_model

    start = time.perf_counter()
    data = as_settings(int8 or ())
    if calibrate is not None and not data:
        raise ValueError("--calibrate is for --int8 DATA; leave it out")
    asked = as_size(size) if size else None
    form = as_format(form)
    check_settings(settings or (), outputs)
    path = output or default_path(form)
    demand_libraries(form, *(["nncf"] if data else []))
    demand_place(path, form)
    network, card = load_model(find_model(model))
    card = replace(card, config=override_config(card.config, settings or ()))
    plan = make_plan(
        card, form, outputs=outputs, size=asked, frames=frames, half=half, int8=bool(data)
    )
    if data:
        from mask2former.export.int8 import export_int8

        table = export_int8(network, card, plan, path, data, calibrate=calibrate or 100, say=say)
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
        if card.config.test.task == "instance" and card.config.test.suppress is not None:
            print("the graph has no test.suppress: objects that are found twice are there twice")
        print(f"next: run it without PyTorch, as examples/{EXAMPLES[plan.format]} does")


def check_settings(settings: Sequence[str], outputs: str) -> None:
    """Raise ValueError for settings that no exported file can keep."""
    for setting in settings:
        if not setting.startswith("test."):
            raise ValueError(f"'{setting}': only test.* can be set of a model that is exported")
        if setting.startswith("test.task=") and outputs == "network":
            raise ValueError(
                f"'{setting}' is for --outputs result; this file serves every task, as "
                "`predict --task` asks for"
            )


EXAMPLES = {"openvino": "openvino_picture.py", "onnx": "onnxruntime_picture.py"}
