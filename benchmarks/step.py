"""A training step, R50, 512 x 512, two pictures with 12 masks each: time and extra peak memory.

Equal weights, equal frozen batch norms, equal loops (loss, backward, clipping, AdamW); ours takes
its truth as id maps, theirs as float masks. With the same random points the losses are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from unittest import mock

import torch
from torch import Tensor, nn

from mask2former.loss.criterion import Criterion
from mask2former.machine import alternate
from mask2former.model.kernels.hasten import hasten_training
from mask2former.structures import Targets
from measure import Row, at_least, build_ours, build_theirs, demand_equal, megabytes, run

BATCH, OBJECTS = 2, 12
SMALL = 128
CLIP = 0.01


def make_images(side: int) -> Tensor:
    """Noise, normalised."""
    return torch.randn(BATCH, 3, side, side, generator=torch.Generator().manual_seed(1))


def make_targets(side: int) -> list[Targets]:
    """Twelve rectangles in three rows of four, a sixth of each side apart from its cell's edge."""
    ids = torch.zeros(1, 1, side, side, dtype=torch.int32)
    height, width = side // 3, side // 4
    for place in range(OBJECTS):
        top, left = place // 4 * height, place % 4 * width
        ids[..., top : top + height * 5 // 6, left : left + width * 5 // 6] = place + 1
    return [Targets(ids, torch.arange(OBJECTS)) for _ in range(BATCH)]


def as_masks(targets: list[Targets]) -> dict[str, list[Tensor]]:
    """The same truth as transformers takes it."""
    numbers = torch.arange(1, OBJECTS + 1)[:, None, None]
    masks = [(target.ids[0] == numbers).float() for target in targets]
    return {"mask_labels": masks, "class_labels": [target.labels for target in targets]}


def build(side: str) -> tuple[nn.Module, Callable[[int], Tensor]]:
    """A network in training, and its loss on pictures of a side."""
    theirs = build_theirs("R50")
    if side == "ours":
        ours, criterion = hasten_training(build_ours("R50", theirs)).train(), Criterion()

        def our_loss(size: int) -> Tensor:
            return torch.stack([*criterion(ours(make_images(size)), make_targets(size)).values()])

        return ours, our_loss
    theirs.train()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(requires_grad=False)
    return theirs, lambda size: theirs(make_images(size), **as_masks(make_targets(size))).loss


def prepare(side: str, size: int) -> Callable[[], object]:
    """A step on pictures of `size`, after a small one that makes the optimiser's state."""
    network, loss = build(side)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-5)

    def step(side: int = size) -> None:
        loss(side).sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    step(SMALL)
    return step


def check_losses(size: int) -> float:
    """Both losses, with the same points for every mask."""

    def draw(*shape: int, device: object = None, generator: object = None) -> Tensor:
        count = shape[1]
        points = torch.empty(count, 2).uniform_(generator=torch.Generator().manual_seed(count))
        return points.repeat(shape[0], 1, 1)

    with mock.patch("torch.rand", draw), torch.no_grad():
        ours, theirs = (build(side)[1](size).sum() for side in ("ours", "theirs"))
    return demand_equal(ours, theirs, 1e-3, "losses")


def collect(quick: bool) -> list[Row]:
    """One thread."""
    torch.set_num_threads(1)
    size = SMALL if quick else 512
    difference = check_losses(size)
    sides = ("ours", "theirs")
    calls = {side: prepare(side, size) for side in sides}
    seconds = {k: median(s) for k, s in alternate(calls, 1 if quick else 5).items()}
    calls.clear()
    extra = [megabytes(prepare, side, size) for side in sides]
    what = f"training step, R50 {size}x{size}, batch {BATCH}, {OBJECTS} masks each"
    equality = f"losses within {difference:.0e}, same points"
    beyond = "beyond weights and optimiser state"
    return [
        at_least(f"{what}, 1 thread", seconds["ours"], seconds["theirs"], 2.0, equality),
        at_least(f"{what}, extra peak memory", *extra, 2.0, beyond, unit="MB"),
    ]


if __name__ == "__main__":
    run("step", collect)
