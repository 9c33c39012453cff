"""Export a network: trace, convert, write, and prove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mask2former import __version__
from mask2former.card import ModelCard
from mask2former.export.files import (
    replacing,
    save_onnx,
    save_openvino,
    to_onnx,
    to_openvino,
)
from mask2former.export.graph import Graph, make_graph, output_names, prepare, trace
from mask2former.export.plan import Plan
from mask2former.export.verify import Check, verify
from mask2former.faults import is_out_of_memory, shorten
from mask2former.model.mask2former import Mask2Former
from mask2former.runtime import Passport, open_exported


def export(
    network: Mask2Former,
    card: ModelCard,
    plan: Plan,
    path: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> list[Check]:
    """Write a network to a file (ONNX) or folder (OpenVINO), and compare that with PyTorch.

    A file that differs does not stay, one that was there before does, and a ValueError says how far
    off it was. The network is left as it is; `say` hears of every comparison.
    """
    graph = make_graph(network.eval(), card, plan)
    passport = Passport(card, plan.outputs, plan.precision, plan.size, plan.frames, __version__)
    made = convert(prepare(graph, plan), plan, output_names(card, plan), passport)
    checks = []
    with replacing(path) as beside:
        if plan.format == "openvino":
            save_openvino(made, beside, plan.precision)
        else:
            save_onnx(made, beside)
        run, _ = open_exported(beside)
        for check in verify(run, graph, plan):
            checks.append(check)
            say(f"checked: {check}")
    return checks


def convert(graph: Graph, plan: Plan, names: Sequence[str], passport: Passport) -> Any:
    """A prepared graph as one of the format's; ValueError where that has no words for it."""
    rule = to_openvino if plan.format == "openvino" else to_onnx
    try:
        return rule(trace(graph, plan), names, passport)
    except Exception as error:  # of many kinds of their own
        if is_out_of_memory(error):
            raise
        cause = origin(error)
        reason = shorten(str(cause).strip().partition("\n")[0] or type(cause).__name__, 150)
        raise ValueError(
            f"the network cannot be put as a graph of {plan.format}'s ({reason}); try the other "
            "format, or a fixed --size"
        ) from error


def origin(error: BaseException) -> BaseException:
    """What an error comes from, which says more than those that tracers wrap around it."""
    while True:
        before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if before is None:
            return error
        error = before
