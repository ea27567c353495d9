"""PSNR and SSIM after alignment, of the RealBlur benchmark."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dgunet_jax.metrics.alignment import align
from dgunet_jax.metrics.inputs import check_window, colour_pair
from dgunet_jax.metrics.similarity import GAUSSIAN_SIDE, gaussian_taps, similarity_map
from dgunet_jax.system.errors import UserError


class AlignedScores(NamedTuple):
    """PSNR in dB and SSIM of a pair after alignment."""

    psnr: float
    ssim: float


def aligned_scores(image: ArrayLike, target: ArrayLike) -> AlignedScores:
    """PSNR and SSIM over the pixels two pictures have in common once `align` has aligned them.

    With m the mask of `align`, over pixels and channels:
    PSNR = 10 log₁₀(Σ m / Σ m (x − z)²), SSIM = Σ m s / Σ m. s is the formula of `similarity_map`
    per channel under an 11×11 Gaussian window, σ = 1.5, peak 1, on pictures that are 0 outside the
    mask; the second quotient leaves 5 pixels out at each border.

    Neither is symmetric: the picture is moved, the target is not. The PSNR is infinite if nothing
    differs.

    Args:
      image: uint8 (H, W, 3), RGB, at least 11×11.
      target: the same shape.

    Returns:
      dB, and a value in [−1, 1].

    Raises:
      UserError: another type or shape, an image is smaller than the window, or whatever `align`
        refuses.

    Source: J. Rim, H. Lee, J. Won, S. Cho, "Real-world blur dataset for learning and benchmarking
    deblurring algorithms", ECCV 2020.
    """
    image, target = colour_pair("the score of RealBlur", image, target)
    check_window("SSIM (RealBlur)", image.shape, GAUSSIAN_SIDE)
    aligned = align(image, target)
    reach = GAUSSIAN_SIDE // 2
    inner = aligned.mask[reach:-reach, reach:-reach]
    if not inner.any():
        raise UserError("a picture has nothing in common with its target once they are aligned")
    error = np.mean(np.square(aligned.image - aligned.target)[aligned.mask])
    similarity = similarity_map(aligned.image, aligned.target, gaussian_taps(), 1.0)
    return AlignedScores(
        psnr=math.inf if error == 0 else float(-10 * np.log10(error)),
        ssim=float(np.mean(similarity[inner])),
    )
