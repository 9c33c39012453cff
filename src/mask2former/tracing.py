"""What code must know of the graph that it may be traced into."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def is_exporting() -> bool:
    """Whether `torch.export` is watching: what depends on a size is asked for every size then."""
    return getattr(torch.compiler, "is_exporting", lambda: False)()


def in_fp32(device: torch.device) -> AbstractContextManager:
    """No autocast inside; while a network is exported there is none, and no graph can say it."""
    return nullcontext() if is_exporting() else torch.autocast(device.type, enabled=False)
