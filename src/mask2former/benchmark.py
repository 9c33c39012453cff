"""How quick and how large a model is on this machine, beside what the machine can do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mask2former.build import build_model
from mask2former.config import Task
from mask2former.engine.predict import Predictor, load, pad_with_mean
from mask2former.machine import (
    PRODUCT_GFLOP,
    Call,
    Timing,
    alternate,
    describe_machine,
    peak_memory,
    product_of_matrices,
)
from mask2former.model.kernels.onednn import is_available
from mask2former.runtime import ExportedNetwork

Size = tuple[int, int]
"""Height and width."""
WARM_UP = (64, 64)
"""A picture that has all libraries loaded, and takes no memory to speak of."""
PROTOCOL = (
    "medians, calls in turn; efficiency = GFLOP / (network time x rate), rate = that of fp32"
    " matrix products timed in between; GFLOP: convolutions, linear layers, attention and"
    " deformable sampling; memory: the peak of predict beyond the loaded model, in a process of"
    " its own"
)


class Row(NamedTuple):
    """What pictures of one size cost; times are of one picture."""

    size: Size
    network: Timing
    postprocessing: Timing
    predict: Timing
    memory: int | None  # bytes; None where the system does not tell
    gflop: float
    rate: float  # GFLOP/s

    @property
    def efficiency(self) -> float:
        """The share of the network's time that its multiplications alone would take.

        They are counted as if done directly; Winograd, which does fewer, may bring it above one.
        """
        return self.gflop / (self.network.median * self.rate)


class Benchmark(NamedTuple):
    """A model's figures by size, and all that must be known to compare them."""

    model: str
    task: Task
    device: str
    threads: int
    batch: int
    machine: dict[str, Any]
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """Plain values; times in seconds, memory in bytes."""
        rows = [
            {
                name: value._asdict() if isinstance(value, Timing) else value
                for name, value in {**row._asdict(), "efficiency": row.efficiency}.items()
            }
            for row in self.rows
        ]
        return {**self._asdict(), "rows": rows, "protocol": PROTOCOL}

    def to_table(self) -> Table:
        """For a terminal."""
        times = [f"{name}, ms" for name in ("network", "post-processing", "predict")]
        table = Table("size", *times, "memory, MB", "GFLOP", "GFLOP/s", "efficiency")
        for row in self.rows:
            memory = "?" if row.memory is None else f"{row.memory / 1e6:.0f}"
            table.add_row(
                "x".join(map(str, row.size)),
                *(
                    f"{1000 * timing.median:.1f} ± {1000 * timing.spread / 2:.1f}"
                    for timing in (row.network, row.postprocessing, row.predict)
                ),
                memory,
                f"{row.gflop:.1f}",
                f"{row.rate:.0f}",
                f"{row.efficiency:.2f}",
            )
        return table


def benchmark(
    model: str,
    sizes: Sequence[Size] = (),
    *,
    settings: Sequence[str] = (),
    batch: int = 1,
    threads: int | None = None,
    device: str = "auto",
    rounds: int = 7,
) -> Benchmark:
    """Measure a model on pictures of some sizes (by default one of the size it was made for).

    `settings` are overrides of `test`. `batch` pictures go through at a time. `threads` are those
    of the CPU; None: PyTorch's own number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        predictor = load(model, device).with_settings(*settings)
        rows = [
            measure(predictor, model, size, batch=batch, rounds=rounds)
            for size in sizes or [usual_size(predictor)]
        ]
        return Benchmark(
            model=model,
            task=predictor.task,
            device=str(predictor.device),
            threads=torch.get_num_threads(),
            batch=batch,
            machine=describe_machine(),
            rows=rows,
        )
    finally:
        torch.set_num_threads(before)


def usual_size(predictor: Predictor) -> Size:
    """What the network sees of a picture in the proportion of 3 to 4."""
    test = predictor.card.config.test
    if predictor.size is not None:
        return predictor.size
    return test.short_edge, min(round(test.short_edge * 4 / 3), test.max_size)


def measure(predictor: Predictor, model: str, size: Size, *, batch: int, rounds: int) -> Row:
    """The figures of one size, timed in turn with a product of matrices."""
    if predictor.size is not None and predictor.size != size:
        own = "x".join(map(str, predictor.size))
        raise ValueError(f"this file was exported for {own} alone; measure it with --size {own}")
    if isinstance(predictor.model, ExportedNetwork) and predictor.model.passport.frames is not None:
        raise ValueError("this file takes clips; benchmark measures pictures, or the model itself")
    predictor = at_size(predictor, size)
    picture = sample_picture(size)
    pixels = torch.from_numpy(picture).movedim(-1, -3).to(predictor.device).float()
    images = pad_with_mean(pixels, predictor.model.mean, predictor.size).repeat(batch, 1, 1, 1)
    seen, device = having_seen(predictor, picture), str(predictor.device)
    calls: dict[str, Call] = {
        "product": product_of_matrices(predictor.device),
        "network": lambda: predictor.model(images),
        "postprocessing": lambda: seen.segment(picture, predictor.task),
        "predict": lambda: predictor([picture] * batch),
    }
    with torch.inference_mode():
        seconds = alternate(calls, rounds, predictor.device)
    return Row(
        size=size,
        network=Timing.of(seconds["network"], batch),
        postprocessing=Timing.of(seconds["postprocessing"]),
        predict=Timing.of(seconds["predict"], batch),
        memory=peak_memory(prepare_predict, model, device, size, batch, device=device),
        gflop=count_gflop(as_module(predictor), images[:1]),
        rate=PRODUCT_GFLOP / Timing.of(seconds["product"]).median,
    )


def as_module(predictor: Predictor) -> nn.Module:
    """The network itself, or one of the same form for an exported one, to be counted."""
    if isinstance(predictor.model, nn.Module):
        return predictor.model
    return build_model(predictor.card.config.model, len(predictor.categories)).eval()


def at_size(predictor: Predictor, size: Size) -> Predictor:
    """The same network, to which pictures of this size are shown as they are, and once."""
    edges = [f"test.short_edge={min(size)}", f"test.max_size={max(size)}", "test.tta=null"]
    return predictor.with_settings(*edges)


def having_seen(predictor: Predictor, picture: np.ndarray) -> Predictor:
    """One that knows what its network says of the picture: all that is left is post-processing."""
    found = predictor.infer(picture)
    changed = copy.copy(predictor)
    changed.infer = lambda image: found
    return changed


def sample_picture(size: Size) -> np.ndarray:
    """A bundled picture as uint8 (H, W, 3), resized: a model finds something there, or nothing."""
    file = resources.files("mask2former") / "demo" / "cells" / "fluorescence_696x520.png"
    with file.open("rb") as opened, Image.open(opened) as picture:
        return np.array(picture.convert("RGB").resize(size[::-1]))


def count_gflop(network: nn.Module, images: Tensor) -> float:
    """Multiplications and additions of a forward pass, in billions, however they are done here.

    Products of matrices, convolutions and attention, as PyTorch counts them, and deformable
    sampling: four corners for each value read. Work that goes element by element is left out.
    """
    aten, ours = torch.ops.aten, torch.ops.mask2former
    formulas: dict[Any, Callable[..., int]] = {
        aten.grid_sampler_2d: _grid_sampler_flop,
        torch.ops.torchvision.deform_conv2d: _deformable_convolution_flop,
        # The one kind of attention that the counter does not know.
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop,
    }
    if is_available():
        formulas[torch.ops.mkldnn._linear_pointwise] = _linear_flop
    if hasattr(ours, "sample_pyramid"):
        formulas |= {ours.sample_pyramid: _sample_pyramid_flop, ours.convolve: _convolution_flop}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    # Not in inference mode, where PyTorch keeps whole attention layers from the counter.
    with counter, torch.enable_grad():
        network(images)
    return counter.get_total_flops() / 1e9


def _attention_flop(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    return 2 * int(np.prod(query[:-1])) * key[-2] * (key[-1] + value[-1])


def _linear_flop(x: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    return 2 * int(np.prod(x)) * weight[0]


def _convolution_flop(x: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    return 2 * x[0] * x[2] * x[3] * int(np.prod(weight))


def _deformable_convolution_flop(
    x: Sequence[int], weight: Sequence[int], offset: Sequence[int], *_: object, **__: object
) -> int:
    places = x[0] * offset[2] * offset[3]
    return places * (2 * int(np.prod(weight)) + 8 * x[1] * weight[2] * weight[3])


def _sample_pyramid_flop(value: Sequence[int], *others: Sequence[int], **__: object) -> int:
    return 8 * int(np.prod(others[-1])) * value[-1]  # the last are the logits, one for each sample


def _grid_sampler_flop(*_: object, out_shape: Sequence[int], **__: object) -> int:
    return 8 * int(np.prod(out_shape))


def prepare_predict(model: str, device: str, size: Size, batch: int) -> Call:
    """For `peak_memory`: a predictor of this size that has its libraries loaded."""
    predictor = load(model, device)
    at_size(predictor, WARM_UP)(sample_picture(WARM_UP))
    sized, pictures = at_size(predictor, size), [sample_picture(size)] * batch
    return lambda: sized(pictures)
