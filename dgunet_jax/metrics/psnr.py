"""Peak signal-to-noise ratio."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from dgunet_jax.metrics.inputs import check_peak, check_scale, check_shapes
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
