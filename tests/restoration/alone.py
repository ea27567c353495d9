"""What restoring must equal: a picture padded, put through the network and cropped, by itself."""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from tests.quick import compiler_options


def pad(image: NDArray[Any], multiple: int = 8) -> NDArray[Any]:
    """Reflected at the bottom and the right without the edge; too short sides repeat the edge."""
    rows, columns = (_indices(side, -(-side // multiple) * multiple) for side in image.shape[:2])
    return image[rows][:, columns]


def _indices(side: int, padded: int) -> list[int]:
    if padded - side < side:
        return [i if i < side else 2 * (side - 1) - i for i in range(padded)]
    return [min(i, side - 1) for i in range(padded)]


class Alone:
    """Restores one picture at a time; (K, H, W, C)."""

    def __init__(self, model: Any, variables: Any):
        self._apply = jax.jit(
            lambda images: model.apply(variables, images).stages,
            compiler_options=compiler_options(),
        )

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        height, width, _ = image.shape
        return np.asarray(self._apply(pad(image)[None]))[:, 0, :height, :width]
