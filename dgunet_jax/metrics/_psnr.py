"""PSNR, and the forms of images that metrics take."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.system.errors import UserError


def psnr(image: ArrayLike, target: ArrayLike, peak: float = 1.0) -> float:
    """PSNR = 10 log₁₀(peak² / MSE) in dB, MSE the mean squared difference over all elements.

    Computed in float64. No protocol is applied: the images are neither clamped nor rounded.

    Args:
      image: any shape, values on the scale of `peak`.
      target: the same shape, on the same scale.
      peak: the largest value a pixel can have: 1 for [0, 1], 255 for 8 bits.

    Returns:
      dB; infinity for equal images, NaN if either holds a NaN.

    Raises:
      UserError: the shapes differ or hold no elements, one image is of integers and the other not
        (their scales differ then), or the peak is not positive and finite.
    """
    image, target = np.asarray(image), np.asarray(target)
    check_shapes("PSNR", image.shape, target.shape)
    check_scale("PSNR", image.dtype, target.dtype, peak)
    error = np.mean(np.square(image.astype(np.float64) - target.astype(np.float64)))
    return math.inf if error == 0 else float(10 * np.log10(peak**2 / error))


def psnr_jax(images: jax.Array, targets: jax.Array, peak: float = 1.0) -> jax.Array:
    """PSNR of each image of a batch, for use under `jit`; the formula of `psnr`.

    Computed in float32, or in float64 if an input is.

    Args:
      images: floating point (N, H, W, C), values on the scale of `peak`.
      targets: the same shape, on the same scale.
      peak: the largest value a pixel can have; a Python number.

    Returns:
      (N,) in dB; infinity where the images are equal.

    Raises:
      UserError: the shapes differ, are not (N, H, W, C) or hold no elements, or the peak is not
        positive and finite.
    """
    check_shapes("PSNR", images.shape, targets.shape)
    check_peak("PSNR", peak)
    if images.ndim != 4:
        raise UserError(f"PSNR of a batch needs (N, H, W, C); got {images.shape}")
    dtype = jnp.promote_types(jnp.promote_types(images.dtype, targets.dtype), jnp.float32)
    error = jnp.mean(jnp.square(images.astype(dtype) - targets.astype(dtype)), axis=(1, 2, 3))
    return 10 * jnp.log10(peak**2 / error)


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
