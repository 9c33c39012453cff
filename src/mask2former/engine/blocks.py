"""The repeated parts of a network: what may be computed twice, and what processes share out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def find_blocks(module: nn.Module) -> list[nn.Module]:
    """The innermost parts of lists of parts: a ResNet's bottlenecks, a transformer's layers."""
    found: list[nn.Module] = []
    for child in module.children():
        inner = find_blocks(child)
        if inner:
            found += inner
        elif isinstance(module, nn.Sequential | nn.ModuleList) and any(
            True for _ in child.children()
        ):
            found.append(child)
    return found


def checkpoint_gradients(blocks: Iterable[nn.Module]) -> None:
    """Keep only what goes into a block; the backward pass computes the rest again (Chen 2016)."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
