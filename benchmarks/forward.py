"""The network alone, one picture: ours against transformers eager, with equal weights, in fp32."""

from __future__ import annotations

from statistics import median

import torch

from mask2former.benchmark import count_gflop
from mask2former.machine import PRODUCT_GFLOP, alternate, product_of_matrices
from measure import Row, at_least, build_both, demand_equal, run

SIZES = [(512, 512), (800, 1344)]
QUICK_SIZES = [(128, 192)]
TOLERANCE = 1e-3
"""Rounding may flip a pixel of an attention mask, which shifts what its query says a little."""


def compare(backbone: str, size: tuple[int, int], threads: int, rounds: int) -> list[Row]:
    """Time both by turns, with a product of matrices between them; check the logits first."""
    torch.set_num_threads(threads)
    ours, theirs = build_both(backbone)
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    gflop = count_gflop(ours, images)
    with torch.inference_mode():
        prediction, expected = ours(images)[-1], theirs(images)
        classes = demand_equal(
            prediction.class_logits, expected.class_queries_logits, TOLERANCE, "class logits"
        )
        masks = demand_equal(
            prediction.mask_logits().squeeze(2),
            expected.masks_queries_logits,
            TOLERANCE,
            "mask logits",
        )
        calls = {
            "product": product_of_matrices(),
            "ours": lambda: ours(images)[-1].mask_logits(),
            "theirs": lambda: theirs(images),
        }
        seconds = {name: median(s) for name, s in alternate(calls, rounds).items()}
    equality = f"logits within {max(classes, masks):.0e} of the largest"
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


def collect(quick: bool) -> list[Row]:
    """Both backbones, sizes and numbers of threads."""
    return [
        row
        for backbone in ("R50", "Swin-T")
        for size in (QUICK_SIZES if quick else SIZES)
        for threads in (1, 2)
        for row in compare(backbone, size, threads, rounds=2 if quick else 7)
    ]


if __name__ == "__main__":
    run("forward", collect)
