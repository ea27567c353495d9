"""SSIM as skimage, as Wang et al. and as RealBlur compute it."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import correlate1d

from dgunet_jax.metrics._psnr import (
    check_colours,
    check_scale,
    check_shapes,
    check_window,
    grey_pair,
)
from dgunet_jax.system.errors import UserError

GAUSSIAN_SIDE = 11  # pixels, of the window

_K1, _K2 = 0.01, 0.03
# What a band of this many rows needs stays in a processor's cache, however large the picture is.
_BAND_ROWS = 64


def gaussian_taps() -> NDArray[np.float64]:
    """The 11 taps of a Gaussian with σ = 1.5, normalised to sum 1."""
    reach = GAUSSIAN_SIDE // 2
    taps = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * 1.5**2))
    return taps / taps.sum()


def similarity_map(
    image: NDArray[np.generic],
    target: NDArray[np.generic],
    taps: NDArray[np.float64],
    peak: float,
    *,
    across: NDArray[np.float64] | None = None,
    covariance_scale: float = 1.0,
) -> NDArray[np.float64]:
    """SSIM = (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂)) at every place.

    μ, σ² and σxy are means, variances and covariance of x and y weighted by a window that fits,
    C₁ = (0.01 · peak)², C₂ = (0.03 · peak)². Equal images give exactly 1 everywhere.

    Args:
      image: x, (H, W, C), real, on the scale of `peak`.
      target: y, the same shape.
      taps: (k,), k odd, sum 1: the window is their outer product.
      peak: the largest value a pixel can have.
      across: (C, C), the weights of the channels in the windows of each channel; every channel
        alone without it.
      covariance_scale: a factor of σx², σy² and σxy: n / (n − 1) makes a window of n equal weights
        give sample covariances.

    Returns:
      (H − k + 1, W − k + 1, C), values in [−1, 1] for images without negative values. NaN, and
      nothing else, within reach of a NaN.

    Source: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from
    error visibility to structural similarity", IEEE Trans. Image Processing 13(4), 2004.
    """
    height, width, channels = image.shape
    reach = len(taps) // 2
    similarity = np.empty((height - 2 * reach, width - 2 * reach, channels))
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2

    def local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # The results that see the border's extension are cut off.
        rows = correlate1d(values, taps, axis=0)[reach : len(values) - reach]
        means = correlate1d(rows, taps, axis=1)[:, reach : width - reach]
        return means if across is None else means @ across.T

    for top in range(0, len(similarity), _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS + 2 * reach)
        x, y = image[band].astype(np.float64), target[band].astype(np.float64)
        mean_x, mean_y = local_mean(x), local_mean(y)
        product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        # The two variances are only needed as a sum.
        covariance = covariance_scale * (local_mean(x * y) - product)
        variances = covariance_scale * (local_mean(x * x + y * y) - squares)
        similarity[top : top + _BAND_ROWS] = ((2 * product + c1) * (2 * covariance + c2)) / (
            (squares + c1) * (variances + c2)
        )
    return similarity


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


def ssim_volume(image: ArrayLike, target: ArrayLike, peak: float) -> float:
    """Mean SSIM over all H · W · 3 places of an 11×11×11 Gaussian window, σ = 1.5.

    The formula is that of `similarity_map`; rows, columns and channels are continued by replicating
    the outermost ones, so images may be smaller than the window. No protocol is applied: the images
    are neither clamped nor rounded. The GoPro and HIDE benchmarks take it of 8-bit pictures, SIDD's
    of single ones.

    Args:
      image: (H, W, 3), RGB, values on the scale of `peak`.
      target: the same shape, on the same scale.
      peak: the largest value a pixel can have: 1 for [0, 1], 255 for 8 bits.

    Returns:
      A value in [−1, 1] for images without negative values, 1 for equal images; NaN if either holds
      a NaN or an infinity.

    Raises:
      UserError: the shapes differ or are not (H, W, 3), one image is of integers and the other not
        (their scales differ then), or the peak is not positive and finite.

    Source: MATLAB's `ssim` given RGB arrays, which it takes for volumes.
    """
    image, target = np.asarray(image), np.asarray(target)
    check_shapes("SSIM (volume)", image.shape, target.shape)
    check_scale("SSIM (volume)", image.dtype, target.dtype, peak)
    check_colours("SSIM (volume)", image.shape)
    if not (np.isfinite(image).all() and np.isfinite(target).all()):
        return math.nan
    taps = gaussian_taps()
    reach = len(taps) // 2
    margins = ((reach, reach), (reach, reach), (0, 0))
    image, target = (np.pad(array, margins, mode="edge") for array in (image, target))
    similarity = similarity_map(image, target, taps, peak, across=_across_channels(taps))
    return float(np.mean(similarity))


def _across_channels(taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The taps along an axis of three replicated channels: row c has the weights around c."""
    reach = len(taps) // 2
    weights = np.zeros((3, 3))
    for channel in range(3):
        seen = np.arange(channel - reach, channel + reach + 1).clip(0, 2)
        np.add.at(weights[channel], seen, taps)
    return weights


def ssim_wang(image: ArrayLike, target: ArrayLike) -> float:
    """Mean SSIM under an 11×11 Gaussian window, σ = 1.5, wherever it fits; L = 255.

    The formula is that of `similarity_map`. There is no downsampling of large images. The deraining
    benchmarks take it of `studio_luma`.

    Args:
      image: uint8 (H, W) or (H, W, 1), at least 11×11.
      target: the same shape.

    Returns:
      A value in [−1, 1], 1 for equal images.

    Raises:
      UserError: another type or shape, or an image is smaller than the window.

    Source: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from
    error visibility to structural similarity", IEEE Trans. Image Processing 13(4), 2004.
    """
    image, target = grey_pair("SSIM (Wang)", image, target)
    check_window("SSIM (Wang)", image.shape, GAUSSIAN_SIDE)
    return float(np.mean(similarity_map(image, target, gaussian_taps(), 255)))
