"""How much memory restoring takes, and how much there is."""

from typing import Any

import jax

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.system.memory import available_memory

_FLOAT = 4  # bytes; what is computed in bfloat16 is kept in float32 on the way, so it counts alike


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


def held_per_pixel(kept: int = 1, side_by_side: int = 1) -> int:
    """Return the bytes one pixel of a picture takes outside of the network.

    An upper bound of all formats, 16 bits and transparency included: while the picture is read (40,
    with what decoders need), while it is restored (the picture, padded copies in float32, tiles'
    weights; 24 for each estimate that is `kept`), or while it is written (36 for each image that is
    written `side_by_side`, the compressed file included).
    """
    return max(40 + 24 * kept, 8 + 12 * kept + 36 * side_by_side)


def free_memory(device: Any) -> int | None:
    """Bytes that the device can still give, or None where nobody tells.

    On a CPU the devices share what the machine, or the container, has left.
    """
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    free = available_memory()
    return None if free is None else free // jax.local_device_count("cpu")
