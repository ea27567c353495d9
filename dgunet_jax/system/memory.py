"""The memory of this machine, and of the control groups this process runs in.

A container, a batch system or a service manager limits memory through control groups, of version 2
(`memory.max`) or 1 (`memory.limit_in_bytes`). A limit binds the group and all groups below it.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MEMINFO = Path("/proc/meminfo")
_MEMBERSHIP = Path("/proc/self/cgroup")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True)
class _Version:
    """Where a version of control groups is mounted, and how it names things."""

    mounts: tuple[str, ...]
    controller: str  # in /proc/self/cgroup
    limit: str
    used: str
    reclaimable: str


_VERSIONS = (
    _Version((".", "unified"), "", "memory.max", "memory.current", "inactive_file"),
    _Version(
        ("memory",),
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def total_memory() -> int | None:
    """Return the bytes the machine has or, if that is less, this process may use.

    None where the machine does not tell.
    """
    machine = _of_machine()
    if machine is None:
        return None
    return min([machine, *(limit for limit, _ in _limits())])


def available_memory() -> int | None:
    """Return the bytes the machine and the control groups can still give; None where none tells.

    All the machine has, where it does not tell what is left of that.
    """
    left = _left()
    machine = _of_machine() if left is None else left
    groups = [max(0, min(limit, limit - used)) for limit, used in _limits() if used is not None]
    return min([*groups, *([] if machine is None else [machine])], default=None)


def _limits() -> Iterator[tuple[int, int | None]]:
    """Yield the limit of every group around this process, and what is in use of it.

    Files that were read count as used, and are given up first: they are left out here.
    """
    for version in _VERSIONS:
        for group in _groups(version):
            limit = _number(group / version.limit)  # no limit reads "max"
            if limit is None:
                continue
            used = _number(group / version.used)
            if used is not None:
                used -= _reclaimable(group / "memory.stat", version.reclaimable)
            yield limit, used


def _groups(version: _Version) -> Iterator[Path]:
    """Yield the folders of the groups this process is in, the mounted root among them.

    A container may see only its own group, mounted as the root, while its membership is told as
    seen from the host. So a folder of the path that does not exist is passed over.
    """
    path = PurePosixPath("/")
    try:
        for line in _MEMBERSHIP.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if version.controller in controllers.split(","):
                path = PurePosixPath(place)
    except (OSError, ValueError):
        pass
    below = [part for part in path.parts if part not in ("/", "..")]
    for mount in version.mounts:
        for depth in range(len(below), -1, -1):
            yield _CONTROL_GROUPS.joinpath(mount, *below[:depth])


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


def _reclaimable(path: Path, name: str) -> int:
    """Bytes of files in memory that a group can give up, from its statistics."""
    try:
        lines = path.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name} "))
    except (OSError, ValueError, StopIteration):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
