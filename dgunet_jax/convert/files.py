"""What the formats of weight files share: bytes as an array."""

from typing import Literal

import numpy as np


def array_from_bytes(content: bytes, dtype: str, byteorder: Literal["<", ">"] = "<") -> np.ndarray:
    """The elements in `content`, read-only, in this machine's byte order.

    Args:
      content: a whole number of elements.
      dtype: NumPy's name, or "bfloat16": that comes out as float32, which holds it exactly.
      byteorder: that of `content`.
    """
    if dtype == "bfloat16":  # the upper half of a float32
        halves = np.frombuffer(content, f"{byteorder}u2").astype(np.uint32)
        array = (halves << 16).view(np.float32)
    else:
        stored = np.frombuffer(content, np.dtype(dtype).newbyteorder(byteorder))
        array = stored.astype(dtype, copy=False)
    array.flags.writeable = False
    return array
