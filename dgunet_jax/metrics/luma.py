"""Brightness as MATLAB has it; the full-range one, as OpenCV has it, is `images.luma.luma`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.system.errors import UserError

# 73 · (0.299, 0.587, 0.114) in units of 1/85000: integers, so that every machine rounds alike.
_WEIGHTS = (73 * 299, 73 * 587, 73 * 114)
_UNIT = 85_000


def studio_luma(pixels: ArrayLike) -> NDArray[np.uint8]:
    """Studio-range luma Y = 16 + 219 (0.299 R + 0.587 G + 0.114 B) / 255, rounded, half up.

    Args:
      pixels: uint8 (H, W, 3), RGB.

    Returns:
      uint8 (H, W, 1), values from 16 (black) to 235 (white).

    Raises:
      UserError: another type or shape.

    Source: ITU-R BT.601; the first channel of MATLAB's `rgb2ycbcr` for uint8, which the deraining
    benchmarks score.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UserError(f"luma is taken of uint8 (H, W, 3); got {pixels.dtype} {pixels.shape}")
    red, green, blue = (pixels[..., i].astype(np.int32) * _WEIGHTS[i] for i in range(3))
    return (16 + (red + green + blue + _UNIT // 2) // _UNIT).astype(np.uint8)[..., None]
