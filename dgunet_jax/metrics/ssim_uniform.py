"""SSIM under a uniform window."""

import math

import numpy as np
from numpy.typing import ArrayLike

from dgunet_jax.metrics.inputs import check_scale, check_shapes, check_window
from dgunet_jax.metrics.similarity import similarity_map
from dgunet_jax.system.errors import UserError

SIDE = 7  # pixels, of the window


def ssim_uniform(image: ArrayLike, target: ArrayLike, peak: float) -> float:
    """Mean SSIM under a 7×7 uniform window, wherever it fits, with sample covariances.

    The formula is that of `similarity_map`, with n / (n − 1), n = 49, for the covariances. No
    protocol is applied: the images are neither clamped nor rounded. The compressive-sensing
    benchmarks take it of full-range luma with peak 255.

    Args:
      image: (H, W) or (H, W, C), at least 7×7, values on the scale of `peak`; the channels'
        values are averaged.
      target: the same shape, on the same scale.
      peak: the largest value a pixel can have: 1 for [0, 1], 255 for 8 bits.

    Returns:
      A value in [−1, 1] for images without negative values, 1 for equal images; NaN if either holds
      a NaN or an infinity.

    Raises:
      UserError: the shapes differ or are not (H, W) or (H, W, C), an image is smaller than the
        window, one is of integers and the other not (their scales differ then), or the peak is not
        positive and finite.

    Source: `skimage.metrics.structural_similarity` with its default settings, which computes in the
    type of the images; here it is float64.
    """
    image, target = np.asarray(image), np.asarray(target)
    check_shapes("SSIM (uniform)", image.shape, target.shape)
    check_scale("SSIM (uniform)", image.dtype, target.dtype, peak)
    if image.ndim not in (2, 3):
        raise UserError(f"SSIM (uniform) needs (H, W) or (H, W, C); got {image.shape}")
    check_window("SSIM (uniform)", image.shape, SIDE)
    if not (np.isfinite(image).all() and np.isfinite(target).all()):
        return math.nan
    if image.ndim == 2:
        image, target = image[..., None], target[..., None]
    taps, weights = np.full(SIDE, 1 / SIDE), SIDE**2
    scale = weights / (weights - 1)
    return float(np.mean(similarity_map(image, target, taps, peak, covariance_scale=scale)))
