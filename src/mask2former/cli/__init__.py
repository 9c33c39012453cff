"""The `mask2former` command."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from mask2former import __version__
from mask2former.cli.check import check_data
from mask2former.cli.evaluate import evaluate
from mask2former.cli.explain import explain as explain_picture
from mask2former.cli.export import export
from mask2former.cli.machine import benchmark, doctor
from mask2former.cli.models import convert, models, recipes
from mask2former.cli.predict import predict
from mask2former.cli.serve import serve
from mask2former.cli.train import train
from mask2former.cli.words import complain
from mask2former.faults import explain
from mask2former.shares import allowed_cores

INTERRUPTED = 130
"""The exit status of what Ctrl-C stopped, as shells have it."""

app = typer.Typer(
    help="Segment images with the Masked-attention Mask Transformer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMANDS = (
    predict,
    train,
    evaluate,
    export,
    serve,
    check_data,
    convert,
    models,
    recipes,
    doctor,
    benchmark,
)
for command in COMMANDS:
    app.command()(command)
app.command("explain")(explain_picture)


def main() -> None:
    """Run a command; a fault of usage or data is one sentence and exit status 2."""
    # PyTorch's threads wait for work in a busy loop, and so take cores from compiled kernels: let
    # them wait for microseconds, not milliseconds. It is read when PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Threads that share less than a core each hold each other up; PyTorch asks only how many cores
    # there are, not how much of their time a container may have.
    cores = allowed_cores()
    if cores is not None and cores < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
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
