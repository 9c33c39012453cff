"""`mask2former serve`."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mask2former.cli.words import Device, TaskName, as_task, say

if TYPE_CHECKING:
    from fastapi import FastAPI

NEEDED = ("fastapi", "uvicorn", "python_multipart")


def serve(
    model: Annotated[str, typer.Argument(help="bundled name, model folder, file or Hub id")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="test.*=value: other settings of the model")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    host: Annotated[
        str, typer.Option(help="who may ask: 127.0.0.1 this machine, 0.0.0.0 everybody")
    ] = "127.0.0.1",
    task: TaskName = None,
    waiting: Annotated[
        int, typer.Option(min=0, help="requests that wait while one is answered; more get 503")
    ] = 8,
    max_megapixels: Annotated[
        float, typer.Option(min=0.01, max=1000, help="of the largest picture that is taken")
    ] = 50,
    device: Device = "auto",
) -> None:
    """Segment the pictures that come over HTTP: JSON, label maps or drawings are the answer."""
    start = time.perf_counter()
    demand_libraries()
    overrides = as_test_settings(settings or ())
    chosen = as_task(task)
    with listener(host, port) as door:
        from mask2former.engine.predict import load
        from mask2former.report.run_folder import format_seconds
        from mask2former.serve.app import create_app

        predictor = load(model, device).with_settings(*overrides)
        name = Path(model).name if Path(model).exists() else model
        app = create_app(
            predictor, name, task=chosen, waiting=waiting, max_pixels=round(1e6 * max_megapixels)
        )
        door.listen()
        opened = time.perf_counter()
        say(f"serving {name} ({chosen or predictor.task}) on {predictor.device}")
        say(f"ready in {format_seconds(opened - start)}")
        say(f"model licence: {predictor.card.licence}")
        announce(address_of(host, door))
        run(app, door)
    spent = format_seconds(time.perf_counter() - opened)
    say(f"stopped after {app.state.turns.done} pictures in {spent}")


def announce(address: str) -> None:
    """Say where the server listens, and what to ask it."""
    say(f"listening on {address} until Ctrl-C; {address}/docs shows all that may be asked")
    say(f"next: `curl -F picture=@PICTURE {address}/predict`; a drawing:")
    say(f"  `curl -F picture=@PICTURE '{address}/predict?format=overlay' -o drawing.png`")


def demand_libraries() -> None:
    """Raise ValueError where the extra is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f'to serve, {" and ".join(missing)} must be installed; pip install "mask2former[serve]"'
        )


def as_test_settings(words: Sequence[str]) -> list[str]:
    """Check settings that leave the model as it is; the task has an option of its own."""
    for word in words:
        key, _, _ = word.partition("=")
        if not key.startswith("test."):
            raise ValueError(f"'{word}': only test.* can be set to serve a model")
        if key == "test.task":
            raise ValueError(f"'{word}': say it with --task")
    return list(words)


def listener(host: str, port: int) -> socket.socket:
    """Take a port before the model is loaded; ValueError where it is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family)
    try:
        if os.name == "posix":  # or a port could not be taken for a minute after a server's end
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
    except OSError as error:
        door.close()
        reason = error.strerror or error
        raise ValueError(
            f"cannot listen on {host}, port {port} ({reason}); choose another --port or --host"
        ) from None
    return door


def address_of(host: str, door: socket.socket) -> str:
    """What to ask from this machine."""
    everybody = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    name = everybody.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{door.getsockname()[1]}"


def run(app: FastAPI, door: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM; what was asked before is answered still."""
    import uvicorn

    from mask2former.engine.stops import on_signal

    server = uvicorn.Server(uvicorn.Config(app))
    # Of its own words only faults are told, and a line for every request.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    with on_signal(signal.SIGINT, as_asked), on_signal(signal.SIGTERM, as_asked):
        server.run(sockets=[door])


def as_asked() -> None:
    """The server stops, and raises the signal again when it has: that is no fault."""
