"""Images side by side."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def side_by_side(images: Iterable[NDArray[Any]], gap: int) -> NDArray[Any]:
    """Images of one height in a row, with white between them.

    Args:
      images: (H, W, C) of one type, at least one; W may differ. Floating-point values are in
        [0, 1]; of integers all values are used.
      gap: columns of white between two of them, pixels.

    Returns:
      (H, ΣW + gap · (number of images − 1), C).
    """
    first, *others = images
    peak = 1 if first.dtype.kind == "f" else np.iinfo(first.dtype).max
    white = np.full((first.shape[0], gap, first.shape[2]), peak, first.dtype)
    return np.concatenate([first, *(part for image in others for part in (white, image))], axis=1)
