"""How visible the borders of blocks are."""

import numpy as np
from numpy.typing import ArrayLike


def seams(image: ArrayLike, block: int) -> float:
    """Return the mean |difference| of neighbours across borders of blocks over that within them.

    1 where blocks leave no trace; rows and columns count alike. Computed in float64.

    Args:
      image: (H, W, C), both sides at least two pixels.
      block: side of the blocks, which begin in the top left corner, pixels; at least 2 and below
        one of the sides.

    Raises:
      ValueError: there are no borders, or nothing within the blocks.
    """
    values = np.asarray(image, np.float64)
    across, within = [], []
    for axis in (0, 1):
        differences = np.moveaxis(np.abs(np.diff(values, axis=axis)), axis, 0)
        is_border = np.arange(1, len(differences) + 1) % block == 0
        across.append(differences[is_border].ravel())
        within.append(differences[~is_border].ravel())
    borders, others = np.concatenate(across), np.concatenate(within)
    if not borders.size or not others.size:
        raise ValueError(f"an image {values.shape} has no borders of blocks of {block} pixels")
    return float(borders.mean() / others.mean()) if others.any() else float("inf")
