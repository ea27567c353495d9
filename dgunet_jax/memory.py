"""The memory of this machine, and of the container this process may run in."""

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def total_memory() -> int | None:
    """Bytes the machine has or, if that is less, the container may use.

    None where the machine does not tell.
    """
    limit, machine = _of_container("memory.max"), _of_machine()
    return machine if machine is None or limit is None else min(machine, limit)


def available_memory() -> int | None:
    """Bytes the machine and the container can still give; None where nobody tells.

    All the machine has, where it does not tell what is left of that.
    """
    left, limit, used = _left(), _of_container("memory.max"), _of_container("memory.current")
    machine = _of_machine() if left is None else left
    container = None
    if limit is not None and used is not None:
        container = max(0, min(limit, limit - used + _reclaimable()))
    return min((free for free in (machine, container) if free is not None), default=None)


def _of_machine() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _left() -> int | None:
    """What Linux estimates it can give without swapping."""
    try:
        for line in _MEMINFO.read_text().splitlines():
            name, value, *_ = line.split()
            if name == "MemAvailable:":
                return int(value) * 1024
    except (OSError, ValueError):
        pass
    return None


def _reclaimable() -> int:
    """Bytes of files that the container has read, which count as used and are given up first."""
    try:
        lines = (_CONTAINER / "memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, StopIteration):
        return 0


def _of_container(name: str) -> int | None:
    try:
        return int((_CONTAINER / name).read_text())
    except (OSError, ValueError):  # no limit reads "max"
        return None
