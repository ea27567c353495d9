"""PSNR, the luma of the deraining benchmarks, and the checks that all metrics share."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

# 73 · (0.299, 0.587, 0.114) in units of 1/85000: integers, so that every machine rounds alike.
_WEIGHTS = (73 * 299, 73 * 587, 73 * 114)
_UNIT = 85_000


def psnr(image: ArrayLike, target: ArrayLike, peak: float = 1.0) -> float:
    """Return PSNR = 10 log₁₀(peak² / MSE) in dB, MSE the mean squared difference of all elements.

    Computed in float64. The images are neither clamped nor rounded. Equal images give infinity, a
    NaN in either gives NaN.

    Args:
      image, target: arrays of one shape, values on the scale of `peak`.
      peak: the largest value a pixel can have: 1 for [0, 1], 255 for 8 bits.

    Raises:
      ValueError: the shapes differ or hold no elements, only one image is of integers (their scales
        differ then), or the peak is not positive and finite.
    """
    image, target = np.asarray(image), np.asarray(target)
    check_pair("PSNR", image, target, peak)
    error = np.mean(np.square(image.astype(np.float64) - target.astype(np.float64)))
    return math.inf if error == 0 else float(10 * np.log10(peak**2 / error))


def psnr_jax(images: jax.Array, targets: jax.Array, peak: float = 1.0) -> jax.Array:
    """Return the `psnr` of each image of a batch, (N,) in dB, for use under `jit`.

    Computed in float32, or in float64 if an input is.

    Args:
      images, targets: floating point (N, H, W, C), values on the scale of `peak`.
      peak: as `psnr` takes it; a Python number.

    Raises:
      ValueError: as `psnr`, or the shapes are not (N, H, W, C).
    """
    check_pair("PSNR", images, targets, peak)
    if images.ndim != 4:
        raise ValueError(f"PSNR of a batch needs (N, H, W, C); got {images.shape}")
    dtype = jnp.promote_types(jnp.promote_types(images.dtype, targets.dtype), jnp.float32)
    error = jnp.mean(jnp.square(images.astype(dtype) - targets.astype(dtype)), axis=(1, 2, 3))
    return 10 * jnp.log10(peak**2 / error)


def studio_luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return studio-range luma Y = 16 + 219 (0.299 R + 0.587 G + 0.114 B) / 255, rounded half up.

    Args:
      pixels: uint8 (H, W, 3), RGB.

    Returns:
      uint8 (H, W, 1), values from 16 (black) to 235 (white).

    Raises:
      ValueError: another type or shape.

    Source: ITU-R BT.601; the first channel of MATLAB's `rgb2ycbcr` for uint8, which the deraining
    benchmarks score.
    """
    check_uint8("luma", pixels, pixels)
    check_rgb("luma", pixels)
    red, green, blue = (pixels[..., i].astype(np.int32) * _WEIGHTS[i] for i in range(3))
    return (16 + (red + green + blue + _UNIT // 2) // _UNIT).astype(np.uint8)[..., None]


def check_pair(metric: str, image: Any, target: Any, peak: float, side: int = 1) -> None:
    """Raise a ValueError unless two arrays have elements, one shape and the scale of `peak`.

    A window of `side` × `side` pixels must fit into them.
    """
    if image.shape != target.shape:
        raise ValueError(f"{metric} of shapes {image.shape} and {target.shape}: they must be equal")
    if 0 in image.shape:
        raise ValueError(f"{metric} of shape {image.shape}: there must be at least one element")
    if (image.dtype.kind in "iu") != (target.dtype.kind in "iu"):
        raise ValueError(f"{metric} of {image.dtype} and {target.dtype}: both must be on one scale")
    if not (math.isfinite(peak) and peak > 0):
        raise ValueError(f"{metric} with peak {peak}: it must be finite and above 0")
    if min(image.shape[:2], default=1) < side:
        size, window = "{}×{}".format(*image.shape), f"{side}×{side}"
        raise ValueError(f"{metric} of {size} pixels: its window needs {window}")


def check_uint8(metric: str, image: NDArray[Any], target: NDArray[Any], side: int = 1) -> None:
    """Raise a ValueError unless two arrays are uint8, of one shape, and a window fits into them."""
    for array in (image, target):
        if array.dtype != np.uint8:
            raise ValueError(f"{metric} is defined on uint8 images; got {array.dtype}: round first")
    check_pair(metric, image, target, 255, side)


def check_rgb(metric: str, image: NDArray[Any]) -> None:
    """Raise a ValueError unless an array is (H, W, 3)."""
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{metric} needs RGB images (H, W, 3); got {image.shape}")
