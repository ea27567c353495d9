"""The structural similarity of two images at every place of a window."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

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
