"""Brightness of colour pictures."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images.bands import bands
from dgunet_jax.images.picture import Picture

# 0.299, 0.587 and 0.114 in units of 2⁻¹⁴: integers, so that every machine rounds alike.
_WEIGHTS = (4899, 9617, 1868)
_SHIFT = 14


def luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Full-range luma Y = 0.299 R + 0.587 G + 0.114 B, rounded, half up.

    Args:
      pixels: uint8 or uint16 (H, W, 3).

    Returns:
      (H, W, 1) of the same type.

    Source: ITU-R BT.601; with these integer weights as OpenCV computes the Y of YCrCb.
    """
    brightness = np.empty((*pixels.shape[:2], 1), pixels.dtype)
    for rows in bands(pixels):
        wide = pixels[rows].astype(np.int64) @ np.array(_WEIGHTS)
        brightness[rows, :, 0] = (wide + (1 << (_SHIFT - 1))) >> _SHIFT
    return brightness


def grey(picture: Picture) -> Picture:
    """The luma of a picture, without its alpha; a colour profile does not fit grey and is left."""
    if picture.pixels.shape[2] == 1:
        return dataclasses.replace(picture, alpha=None)
    return Picture(luma(picture.pixels), exif=picture.exif, file_format=picture.file_format)
