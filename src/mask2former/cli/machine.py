"""`mask2former doctor` and `benchmark`: what this machine can do."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from mask2former.cli.words import Device, TestSettings, as_size, complain, wide_console


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


def benchmark(
    model: Annotated[str, typer.Argument(help="bundled name, model folder or Hub id")],
    settings: TestSettings = None,
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
    found = measure(
        model, sizes, settings=settings or (), batch=batch, threads=threads, device=device
    )
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
