"""SSIM of a colour image as MATLAB computes it: the image is a volume three layers deep."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.metrics.inputs import check_colours, check_scale, check_shapes
from dgunet_jax.metrics.similarity import gaussian_taps, similarity_map


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
