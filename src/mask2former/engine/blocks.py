"""The repeated parts of a network: what may be computed twice, and what processes share out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
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
        block.forward = partial(
            checkpoint,
            block.forward,
            use_reentrant=False,
            context_fn=partial(_twice, block),
        )


def _twice(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What surrounds a block's first computing, and its second."""
    return nullcontext(), _statistics_at_rest(block)


@contextmanager
def _statistics_at_rest(block: nn.Module) -> Iterator[None]:
    """Batch norms have counted this batch already."""
    norms = [module for module in block.modules() if isinstance(module, _NormBase)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
