"""What this machine does: how long calls take, how much memory they need, how busy it is."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mask2former.shares import allowed_cores, left_memory

Call = Callable[[], object]

SIDE = 1536
"""Of the square matrices whose product tells the machine's rate."""
PRODUCT_GFLOP = 2 * SIDE**3 / 1e9
CLEAR_REFS = Path("/proc/self/clear_refs")


class Timing(NamedTuple):
    """Seconds a call takes: the median, and how far the quartiles are apart."""

    median: float
    spread: float

    @classmethod
    def of(cls, seconds: Sequence[float], pictures: int = 1) -> Timing:
        """Of calls that do `pictures` pictures each, for one picture."""
        low, middle, high = np.percentile(seconds, (25, 50, 75)) / pictures
        return cls(float(middle), float(high - low))


def alternate(
    calls: Mapping[str, Call], rounds: int, device: torch.device | str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of every call, by turns, so that whatever else the machine does slows all alike.

    The first round is not counted. Every second one goes the other way round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    wait = getattr(torch, torch.device(device).type).synchronize
    for turn in range(rounds + 1):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            wait()
            start = time.perf_counter()
            calls[name]()
            wait()
            if turn > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def product_of_matrices(device: torch.device | str = "cpu") -> Call:
    """A call of `PRODUCT_GFLOP`: what the machine can do at best, in fp32."""
    matrix = torch.rand(SIDE, SIDE, device=device)
    return lambda: matrix @ matrix


def peak_memory(prepare: Callable[..., Call], *arguments: Any, device: str = "cpu") -> int | None:
    """The most bytes a call needs beyond what there was before it, in a process of its own.

    `prepare(*arguments)` gives the call; it runs there too, and what it needs is not counted. None
    where the system tells nothing (MPS; Windows).
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        threads = torch.get_num_threads()
        return process.submit(_watch, prepare, arguments, torch.device(device), threads).result()


def _watch(
    prepare: Callable[..., Call], arguments: tuple, device: torch.device, threads: int
) -> int | None:
    torch.set_num_threads(threads)
    call = prepare(*arguments)
    before = forget_peak(device)
    result = call()  # kept while the peak is read
    after = peak(device)
    del result
    return None if before is None or after is None else after - before


def forget_peak(device: torch.device) -> int | None:
    """Start the watch of `peak` anew: the bytes of now, or the old peak where that cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access(CLEAR_REFS, os.W_OK):
        # What was freed goes back to the system first: else the call could hide in it.
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
        CLEAR_REFS.write_text("5")
    return peak(device)


def peak(device: torch.device) -> int | None:
    """The most bytes that this process has had on a device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    if sys.platform == "linux":
        # Not ru_maxrss, which a process inherits from a parent that was larger.
        return _kibibytes(Path("/proc/self/status"), "VmHWM")  # which sandboxes may leave out
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def describe_machine() -> dict[str, Any]:
    """What figures hang on, and how busy others keep the machine."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return {
        "processor": next(names, platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def usable_cores() -> int:
    """The cores that this process may run on, and whose time it may use."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, allowed_cores() or cores)


def free_memory(device: torch.device) -> int:
    """Bytes that a process can still take: of a GPU, of the machine, or of a container's share."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [_kibibytes(Path("/proc/meminfo"), "MemAvailable"), left_memory()]
    if any(size is not None for size in known):
        return min(size for size in known if size is not None)
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # others use some
    return 4 * 2**30  # what any machine has that trains


def _kibibytes(file: Path, field: str) -> int | None:
    """A field of a file below /proc in bytes, where there is one."""
    try:
        return 1024 * int(file.read_text().partition(f"{field}:")[2].split()[0])
    except (OSError, IndexError):
        return None
