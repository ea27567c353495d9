"""Sizes the network can take."""

import numpy as np
from numpy.typing import NDArray


def pad_to_multiple(
    image: NDArray[np.floating], multiple: int, zeros: bool = False
) -> NDArray[np.floating]:
    """Extends an image (H, W, C) at the bottom and the right until both sides are multiples.

    By reflection without repeating the edge pixel (a b c → a b c b a); a side that is too short for
    that, not longer than what it lacks, is extended by its edge pixel. Or by `zeros`.
    """
    for axis in (0, 1):
        side = image.shape[axis]
        lacking = -side % multiple
        width = [(0, 0)] * image.ndim
        width[axis] = (0, lacking)
        if zeros:
            image = np.pad(image, width)
        else:
            image = np.pad(image, width, mode="reflect" if lacking < side else "edge")
    return image
