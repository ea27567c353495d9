"""Images side by side."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def side_by_side(images: Iterable[NDArray[np.float32]], gap: int) -> NDArray[np.float32]:
    """Images of one height in a row, with white between them.

    Args:
      images: (H, W, C) in [0, 1], at least one; W may differ.
      gap: columns of white between two of them, pixels.

    Returns:
      (H, ΣW + gap · (number of images − 1), C).
    """
    first, *others = images
    white = np.ones((first.shape[0], gap, first.shape[2]), np.float32)
    return np.concatenate([first, *(part for image in others for part in (white, image))], axis=1)
