"""SSIM as scikit-image, as Wang et al. and as MATLAB compute it.

SSIM = (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂)), averaged over places: μ, σ²
and σxy are means, variances and covariance of x and y under a window, C₁ = (0.01 · peak)² and
C₂ = (0.03 · peak)². It lies in [−1, 1] for images without negative values, is 1 for equal images,
and NaN where an image holds a NaN or an infinity. Images are neither clamped nor rounded.

Source: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error
visibility to structural similarity", IEEE Trans. Image Processing 13(4), 2004.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.metrics._psnr import check_pair, check_rgb, check_uint8

# scikit-image's settings for the 11×11 window and the covariances of Wang et al.
GAUSSIAN: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
REACH = 5  # pixels, of that window on each side of its centre

# A band of this many rows stays in a processor's cache, and bounds the memory of large images.
_BAND_ROWS = 64


def ssim_uniform(image: ArrayLike, target: ArrayLike, peak: float) -> float:
    """Return mean SSIM under a 7×7 uniform window, wherever it fits, with sample covariances.

    The compressive-sensing benchmarks take it of full-range luma with peak 255.

    Args:
      image, target: (H, W) or (H, W, C), at least 7×7, values on the scale of `peak`. The values of
        the channels are averaged.
      peak: the largest value a pixel can have: 1 for [0, 1], 255 for 8 bits.

    Raises:
      ValueError: as `psnr`, or for another shape.

    Source: `skimage.metrics.structural_similarity` with its default settings, in float64.
    """
    from skimage.metrics import structural_similarity

    image, target = np.asarray(image), np.asarray(target)
    if image.ndim not in (2, 3):
        raise ValueError(f"SSIM (uniform) needs (H, W) or (H, W, C); got {image.shape}")
    check_pair("SSIM (uniform)", image, target, peak, side=7)
    axis = 2 if image.ndim == 3 else None
    similarity = functools.partial(structural_similarity, data_range=peak, channel_axis=axis)
    return _mean_of_bands(similarity, image, target, reach=3)


def ssim_wang(image: ArrayLike, target: ArrayLike) -> float:
    """Return mean SSIM under an 11×11 Gaussian window, σ = 1.5, wherever it fits, with peak 255.

    Large images are not downsampled. The deraining benchmarks take it of `studio_luma`.

    Args:
      image, target: uint8 (H, W) or (H, W, 1), at least 11×11.

    Raises:
      ValueError: another type or shape.
    """
    from skimage.metrics import structural_similarity

    image, target = np.asarray(image), np.asarray(target)
    check_uint8("SSIM (Wang)", image, target, side=2 * REACH + 1)
    if image.ndim != 2 and (image.ndim != 3 or image.shape[2] != 1):
        raise ValueError(f"SSIM (Wang) needs grey images (H, W) or (H, W, 1); got {image.shape}")
    similarity = functools.partial(structural_similarity, data_range=255, **GAUSSIAN)
    x, y = (array.reshape(array.shape[:2]) for array in (image, target))
    return _mean_of_bands(similarity, x, y, REACH)


def ssim_volume(image: ArrayLike, target: ArrayLike, peak: float) -> float:
    """Return mean SSIM over all H · W · 3 places of an 11×11×11 Gaussian window, σ = 1.5.

    Rows, columns and channels are continued by replicating the outermost ones, so images may be
    smaller than the window. The GoPro and HIDE benchmarks take it of 8-bit images, SIDD's of
    unrounded ones.

    Args:
      image, target: (H, W, 3), RGB, values on the scale of `peak`.
      peak: the largest value a pixel can have: 1 for [0, 1], 255 for 8 bits.

    Raises:
      ValueError: as `psnr`, or for another shape.

    Source: MATLAB's `ssim` given RGB arrays, which it takes for volumes.
    """
    from scipy.ndimage import correlate1d

    image, target = np.asarray(image), np.asarray(target)
    check_pair("SSIM (volume)", image, target, peak)
    check_rgb("SSIM (volume)", image)
    taps = np.exp(-np.square(np.arange(-REACH, REACH + 1)) / (2 * 1.5**2))
    taps /= taps.sum()
    channels = np.zeros((3, 3))  # row c: the weights of the three channels in a window around c
    for c in range(3):
        np.add.at(channels[c], np.arange(c - REACH, c + REACH + 1).clip(0, 2), taps)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2

    def local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        values = correlate1d(values, taps, axis=0)[REACH:-REACH]
        return correlate1d(values, taps, axis=1)[:, REACH:-REACH] @ channels.T

    def similarity(x: NDArray[np.float64], y: NDArray[np.float64]) -> np.floating:
        mean_x, mean_y = local_mean(x), local_mean(y)
        product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        covariance = local_mean(x * y) - product
        variances = local_mean(x * x + y * y) - squares  # only their sum is needed
        numerator = (2 * product + c1) * (2 * covariance + c2)
        return np.mean(numerator / ((squares + c1) * (variances + c2)))

    margins = ((REACH, REACH), (REACH, REACH), (0, 0))
    image, target = (np.pad(array, margins, mode="edge") for array in (image, target))
    return _mean_of_bands(similarity, image, target, REACH)


def _mean_of_bands(
    similarity: Callable[..., Any], image: NDArray[Any], target: NDArray[Any], reach: int
) -> float:
    """Return the mean of a similarity over all rows that have `reach` rows above and below."""
    if not (np.isfinite(image).all() and np.isfinite(target).all()):
        return math.nan
    count, total = len(image) - 2 * reach, 0.0
    for top in range(0, count, _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS + 2 * reach)
        x, y = (array[rows].astype(np.float64) for array in (image, target))
        total += (len(x) - 2 * reach) * float(similarity(x, y))
    return total / count
