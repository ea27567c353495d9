"""How much memory restoring takes, and how much there is."""

import os
from pathlib import Path
from typing import Any

import jax

from dgunet_jax.models.config import DGUNetConfig

_FLOAT = 4  # bytes; what is computed in bfloat16 is kept in float32 on the way, so it counts alike
_CGROUP = Path("/sys/fs/cgroup")


def bytes_per_pixel(config: DGUNetConfig, divided: bool = False) -> float:
    """Memory one pixel of a batch takes in the compiled network, input and estimates included.

    An upper estimate, fitted to the compiled programs of the released models and ablations: per
    pixel 8.7 n + 3.4 s + 115 floats (n the width, s the growth), and 70 more where Φᵀ is
    differentiated from Φ. Where the rows are `divided` among devices, a sixth more and 100 floats,
    for copies with the neighbours' rows. What is compiled takes between 0.5 and 1 of all that.
    """
    features = 8.7 * config.width + 3.4 * config.growth + 115
    if config.degradation == "tied":
        features += 70
    if divided:
        features = 1.16 * features + 100
    return _FLOAT * (features + (config.num_stages + 3) * config.channels)


def free_memory(device: Any) -> int | None:
    """Bytes that the device can still give, or None where nobody tells.

    On a CPU the devices share what the machine, or the container, has left.
    """
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    known = [free for free in (_free_in_machine(), _free_in_container()) if free is not None]
    return min(known) // jax.local_device_count("cpu") if known else None


def _free_in_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, value, *_ = line.split()
            if name == "MemAvailable:":
                return int(value) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _free_in_container() -> int | None:
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        return max(0, limit - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no limit reads "max"
        return None
