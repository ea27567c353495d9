"""What metrics take, and the one line that says what they do not."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.system.errors import UserError


def colour_pair(
    metric: str, image: ArrayLike, target: ArrayLike
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two uint8 images of one shape (H, W, 3).

    Raises:
      UserError: they are not; it names the metric.
    """
    image, target = _uint8_pair(metric, image, target)
    check_colours(metric, image.shape)
    return image, target


def grey_pair(
    metric: str, image: ArrayLike, target: ArrayLike
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two uint8 images of one shape (H, W) or (H, W, 1), as (H, W, 1).

    Raises:
      UserError: they are not; it names the metric.
    """
    image, target = _uint8_pair(metric, image, target)
    if image.ndim == 2:
        image, target = image[..., None], target[..., None]
    if image.ndim != 3 or image.shape[2] != 1:
        raise UserError(f"{metric} needs grey images (H, W) or (H, W, 1); got {image.shape}")
    return image, target


def check_shapes(metric: str, shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Raises UserError, naming the metric, unless the shapes are equal and hold elements."""
    if shape != other:
        raise UserError(f"{metric} of shapes {shape} and {other}: they must be equal")
    if 0 in shape:
        raise UserError(f"{metric} of shape {shape}: there must be at least one element")


def check_colours(metric: str, shape: tuple[int, ...]) -> None:
    """Raises UserError, naming the metric, unless the shape is (H, W, 3)."""
    if len(shape) != 3 or shape[2] != 3:
        raise UserError(f"{metric} needs RGB images (H, W, 3); got {shape}")


def check_peak(metric: str, peak: float) -> None:
    """Raises UserError, naming the metric, unless the peak is finite and positive."""
    if not (math.isfinite(peak) and peak > 0):
        raise UserError(f"{metric} with peak {peak}: it must be finite and above 0")


def check_scale(metric: str, dtype: np.dtype[Any], other: np.dtype[Any], peak: float) -> None:
    """Raises UserError, naming the metric, where two images cannot be on the scale of `peak`.

    That is where one is of integers and the other not, or the peak is not finite and positive.
    """
    check_peak(metric, peak)
    if (dtype.kind in "iu") != (other.kind in "iu"):
        raise UserError(f"{metric} of {dtype} and {other}: both must be on one scale")


def check_window(metric: str, shape: tuple[int, ...], side: int) -> None:
    """Raises UserError, naming the metric, unless a window fits into an image (H, W, C)."""
    height, width = shape[:2]
    if min(height, width) < side:
        raise UserError(
            f"{metric} of {height}×{width} pixels: its {side}×{side} window needs at least "
            f"{side}×{side}"
        )


def _uint8_pair(
    metric: str, image: ArrayLike, target: ArrayLike
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image, target = np.asarray(image), np.asarray(target)
    for array in (image, target):
        if array.dtype != np.uint8:
            raise UserError(f"{metric} is defined on uint8 images; got {array.dtype}: round first")
    check_shapes(metric, image.shape, target.shape)
    return image, target
