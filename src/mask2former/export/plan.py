"""What a person wants exported, checked before anything is computed."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from mask2former.card import ModelCard
from mask2former.config import SampledQueries
from mask2former.structures import STRIDE

Format = Literal["openvino", "onnx"]
Precision = Literal["fp32", "fp16", "int8"]
"""How weights are stored; int8 computes with whole numbers too, where that does no harm."""
Outputs = Literal["network", "result"]


class Plan(NamedTuple):
    """The form of an exported file."""

    format: Format
    outputs: Outputs = "network"
    size: tuple[int, int] | None = None  # None: any multiples of 32
    frames: int | None = None  # None: pictures
    precision: Precision = "fp32"


def as_format(name: str) -> Format:
    """Check a format's name."""
    if name not in get_args(Format):
        raise ValueError(f"--format {name}: choose {' or '.join(get_args(Format))}")
    return name  # pyrefly: ignore[bad-return]


def make_plan(
    card: ModelCard,
    form: str,
    *,
    outputs: str = "network",
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    half: bool = False,
    int8: bool = False,
) -> Plan:
    """Check the wishes for a model. Raises ValueError where they do not fit it."""
    if outputs not in ("network", "result"):
        raise ValueError(f"--outputs {outputs}: choose network or result")
    if form == "onnx" and (half or int8):
        wish = "--int8" if int8 else "--fp16"
        raise ValueError(f"{wish} is for OpenVINO; take --format openvino, or leave it out")
    if half and int8:
        raise ValueError("--fp16 is part of --int8 for what stays in floating point; leave it out")
    follows = card.config.model.transformer_decoder.position == "3d"
    if follows and outputs == "result":
        raise ValueError(
            "--outputs result is for picture models; leave it out for this video model"
        )
    if int8 and (follows or outputs == "result"):
        reason = "for picture models" if follows else "measured on the network's own outputs"
        option = "--int8" if follows else "--outputs result"
        raise ValueError(f"--int8 is {reason}; leave {option} out")
    if frames is not None and not follows:
        raise ValueError("--frames is for video models, and this one takes pictures; leave it out")
    if size is not None and any(side % STRIDE for side in size):
        raise ValueError(
            f"--size {size[0]}x{size[1]}: both must be multiples of {STRIDE}, as "
            f"{'x'.join(str(-(-side // STRIDE) * STRIDE) for side in size)}"
        )
    queries = card.config.model.transformer_decoder.queries
    if size is None and isinstance(queries, SampledQueries) and STRIDE % queries.spacing:
        raise ValueError(
            f"queries {queries.spacing:g} pixels apart are not equally many in every {STRIDE}; "
            "export with a fixed --size"
        )
    precision = "int8" if int8 else "fp16" if half else "fp32"
    return Plan(as_format(form), outputs, size, (frames or 2) if follows else None, precision)
