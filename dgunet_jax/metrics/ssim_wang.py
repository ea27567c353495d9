"""SSIM of grey images, as first published."""

import numpy as np
from numpy.typing import ArrayLike

from dgunet_jax.metrics.inputs import check_window, grey_pair
from dgunet_jax.metrics.similarity import GAUSSIAN_SIDE, gaussian_taps, similarity_map


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
