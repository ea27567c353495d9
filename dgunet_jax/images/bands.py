"""Large arrays a few rows at a time, where what is computed on the way would take much memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_VALUES = 1 << 20


def bands(array: NDArray[Any]) -> Iterator[slice]:
    """Yield slices that divide the first axis of an array into bands of about 2²⁰ values."""
    rows = max(1, _VALUES // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)
