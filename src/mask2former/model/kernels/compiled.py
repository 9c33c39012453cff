"""Loops compiled for CPUs, kept on disk and shared out among PyTorch's threads (needs numba)."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

# Every fast-math licence but "there is no NaN": a NaN must come out again as one. The cache
# does not see these: whoever changes them touches the kernels' files too.
FAST = {"reassoc", "contract", "arcp", "nsz"}
PARTS = 4
"""For each thread."""


def compiled(kernel: Callable[..., None]) -> Callable[..., None]:
    """Compile with a cache on disk, or without where no folder for one can be written."""
    try:
        return njit(nogil=True, fastmath=FAST, cache=True)(kernel)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return njit(nogil=True, fastmath=FAST)(kernel)


def as_array(tensor: Tensor) -> np.ndarray:
    """The same memory, as kernels take it."""
    return tensor.detach().numpy()


def share_out(kernel: Callable[..., None], turns: range, *arguments: Any) -> None:
    """Call kernel(first, last, *arguments) for all turns, on as many threads as PyTorch uses.

    Not numba's own threads: their OpenMP pool changes the number of threads PyTorch computes with.
    PyTorch's own wait for work in a busy loop for a while, so that cores are slower than others
    just when this begins: whoever has a part done takes the next, and this thread works too.
    """
    threads = min(torch.get_num_threads(), len(turns))
    if threads <= 1:
        kernel(turns.start, turns.stop, *arguments)
        return
    count = min(PARTS * threads, len(turns))
    bounds = [turns.start + len(turns) * part // count for part in range(count + 1)]
    parts = list(pairwise(bounds))

    def work() -> None:
        while parts:
            try:
                part = parts.pop()
            except IndexError:  # another thread was quicker
                return
            kernel(*part, *arguments)

    pool = _pool(os.getpid(), threads - 1)
    helpers = [pool.submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


@lru_cache(maxsize=4)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: those of its parent do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"compiled-{process}")
