"""SSIM of a colour image as MATLAB computes it: the image is a volume three layers deep."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.metrics.inputs import colour_pair
from dgunet_jax.metrics.similarity import gaussian_taps, similarity_map


def ssim_volume(image: ArrayLike, target: ArrayLike) -> float:
    """Mean SSIM over all H · W · 3 places of an 11×11×11 Gaussian window, σ = 1.5; L = 255.

    The formula is that of `similarity_map`; rows, columns and channels are continued by replicating
    the outermost ones, so images may be smaller than the window. Of the GoPro and HIDE benchmarks.

    Args:
      image: uint8 (H, W, 3), RGB.
      target: the same shape.

    Returns:
      A value in [−1, 1], 1 for equal images.

    Raises:
      UserError: another type or shape.

    Source: MATLAB's `ssim` given RGB arrays, which it takes for volumes.
    """
    image, target = colour_pair("SSIM (volume)", image, target)
    taps = gaussian_taps()
    reach = len(taps) // 2
    margins = ((reach, reach), (reach, reach), (0, 0))
    image, target = (np.pad(array, margins, mode="edge") for array in (image, target))
    similarity = similarity_map(image, target, taps, 255, across=_across_channels(taps))
    return float(np.mean(similarity))


def _across_channels(taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The taps along an axis of three replicated channels: row c has the weights around c."""
    reach = len(taps) // 2
    weights = np.zeros((3, 3))
    for channel in range(3):
        seen = np.arange(channel - reach, channel + reach + 1).clip(0, 2)
        np.add.at(weights[channel], seen, taps)
    return weights
