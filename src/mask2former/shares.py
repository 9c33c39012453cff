"""What a container or a job may use of the machine: control groups of Linux, version 2 or 1."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
"""The groups of this process: `number:controllers:path`, for version 2 `0::path`."""
GROUPS = Path("/sys/fs/cgroup")
MEMORY_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
CACHES = re.compile(r"^(?:total_)?(?:in)?active_file (\d+)$", re.MULTILINE)
"""Files that the system keeps in memory until somebody needs the room."""


def allowed_cores() -> int | None:
    """The processor time that is allowed, in cores, rounded up; None: all there is."""
    found = [cores for group in _groups("cpu") if (cores := _quota(group)) is not None]
    return math.ceil(min(found)) if found else None


def left_memory() -> int | None:
    """Bytes left of what may be used; None: no limit is known."""
    found = [size for group in _groups("memory") if (size := _left(group)) is not None]
    return min(found, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, each inside the next."""
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = GROUPS / controller
        elif not controllers:
            root = GROUPS
        else:
            continue
        # A container may see its own group as the root, and the path from outside.
        own = root / path.lstrip("/") if ".." not in path else root
        while own != root:
            yield own
            own = own.parent
        yield root


def _quota(group: Path) -> float | None:
    """How many cores' time a group has in all."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        cores = int(quota) / int(period)
    except ValueError:  # "max"
        return None
    return cores if cores > 0 else None  # version 1 says -1 where there is no limit


def _left(group: Path) -> int | None:
    """The bytes that a group still has, when its caches have made room."""
    for limit, used in MEMORY_FILES:
        try:
            whole, taken = int((group / limit).read_text()), int((group / used).read_text())
            caches = sum(map(int, CACHES.findall((group / "memory.stat").read_text())))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return max(whole - max(taken - caches, 0), 0)
    return None
