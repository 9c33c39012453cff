"""Export a network: trace, convert, write, and prove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mask2former import __version__
from mask2former.card import ModelCard
from mask2former.export.files import delete, save_onnx, save_openvino, to_openvino
from mask2former.export.graph import make_graph, output_names, prepare, trace
from mask2former.export.plan import Plan
from mask2former.export.verify import Check, verify
from mask2former.faults import shorten
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

    A file that differs is deleted and a ValueError says how far off it was. The network is left as
    it is; `say` hears of every comparison.
    """
    graph = make_graph(network.eval(), card, plan)
    names = output_names(card, plan)
    passport = Passport(card, plan.outputs, plan.precision, plan.size, plan.frames, __version__)
    try:
        program = trace(prepare(graph, plan), plan)
        if plan.format == "openvino":
            save_openvino(to_openvino(program, names, passport), path, plan.precision)
        else:
            save_onnx(program, names, passport, path)
    except (RuntimeError, TypeError) as error:  # of many kinds of their own
        reason = shorten(str(origin(error)).strip().partition("\n")[0], 150)
        raise ValueError(
            f"the network cannot be put as a graph of {plan.format}'s ({reason}); try the other "
            "format, or a fixed --size"
        ) from error
    checks = []
    try:
        run, _ = open_exported(path)
        for check in verify(run, graph, plan):
            checks.append(check)
            say(f"checked: {check}")
    except BaseException:
        delete(path)
        raise
    return checks


def origin(error: BaseException) -> BaseException:
    """What an error comes from, which says more than those that tracers wrap around it."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
