"""The network alone, one picture: ours against transformers eager, with equal weights, in fp32."""

from __future__ import annotations

from statistics import median

import torch
import transformers
from torch import Tensor

from mask2former.benchmark import count_gflop
from mask2former.machine import PRODUCT_GFLOP, alternate, product_of_matrices
from mask2former.model.mask2former import Mask2Former
from measure import Row, at_least, build_both, demand_equal, run

SIZES = [(512, 512), (800, 1344)]
QUICK_SIZES = [(128, 192)]
TOLERANCE = 1e-4
"""Of the prediction before any attention mask: rounding alone."""
FLIPPED = 2e-2
"""Of the last one: rounding may flip pixels of attention masks, which shifts all queries a bit."""


def compare(backbone: str, size: tuple[int, int], threads: int, rounds: int) -> list[Row]:
    """Time both by turns, with a product of matrices between them; check the logits first."""
    torch.set_num_threads(threads)
    ours, theirs = build_both(backbone)
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    gflop = count_gflop(ours, images)
    with torch.inference_mode():
        rounding, flips = demand_same(ours, theirs, images)
        calls = {
            "product": product_of_matrices(),
            "ours": lambda: ours(images)[-1].mask_logits(),
            "theirs": lambda: theirs(images),
        }
        seconds = {name: median(s) for name, s in alternate(calls, rounds).items()}
    equality = f"first logits within {rounding:.0e} of the largest, last within {flips:.0e}"
    what = f"{backbone} {size[0]}x{size[1]}, {threads} thread{'s' if threads > 1 else ''}"
    quick, slow = seconds["ours"], seconds["theirs"]
    rate = PRODUCT_GFLOP / seconds["product"]
    high, low = gflop / (quick * rate), gflop / (slow * rate)
    named = (backbone, size, threads) == ("R50", (512, 512), 1)
    target, reached = ("0.68", high >= 0.68) if named else ("", None)
    floor = f"{gflop:.0f} GFLOP, products at {rate:.0f} GFLOP/s"
    return [
        at_least(f"forward, {what}", quick, slow, 1.9, equality),
        Row(f"efficiency, {what}", "", high, low, high / low, target, reached, floor),
    ]


def demand_same(
    ours: Mask2Former, theirs: transformers.PreTrainedModel, images: Tensor
) -> tuple[float, float]:
    """How far the logits of the first and the last prediction differ; an error if they do much."""
    predictions, expected = ours(images), theirs(images, output_auxiliary_logits=True)
    first = expected.auxiliary_logits[0]
    pairs = [
        (predictions[0], first["class_queries_logits"], first["masks_queries_logits"], TOLERANCE),
        (predictions[-1], expected.class_queries_logits, expected.masks_queries_logits, FLIPPED),
    ]
    rounding, flips = (
        max(
            demand_equal(prediction.class_logits, classes, tolerance, "class logits"),
            demand_equal(prediction.mask_logits().squeeze(2), masks, tolerance, "mask logits"),
        )
        for prediction, classes, masks, tolerance in pairs
    )
    return rounding, flips


def collect(quick: bool) -> list[Row]:
    """Both backbones, sizes and numbers of threads."""
    return [
        row
        for backbone in ("R50", "Swin-T")
        for size in (QUICK_SIZES if quick else SIZES)
        for threads in (1, 2)
        for row in compare(backbone, size, threads, rounds=2 if quick else 5)
    ]


if __name__ == "__main__":
    run("forward", collect)
