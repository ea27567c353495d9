"""Scores after alignment, as RealBlur's protocol asks."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.metrics._psnr import check_window, colour_pair
from dgunet_jax.metrics._ssim import GAUSSIAN_SIDE, gaussian_taps, similarity_map
from dgunet_jax.system.errors import UserError

_ITERATIONS = 100
_GAUSSIAN_SIDE = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Aligned:
    """A restored picture, moved onto its target.

    Attributes:
      image: the restored picture, scaled in brightness and warped; float64 (H, W, 3), nominally in
        [0, 1], 0 outside the mask.
      target: float64 (H, W, 3) in [0, 1], 0 outside the mask.
      mask: bool (H, W), where the restored picture has pixels to compare.
    """

    image: NDArray[np.float64]
    target: NDArray[np.float64]
    mask: NDArray[np.bool_]


def opencv() -> Any:
    """OpenCV, which is not needed for anything else.

    Raises:
      UserError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise UserError(
            "scores of RealBlur need OpenCV: pip install opencv-python-headless"
        ) from None
    return cv2


def align(image: ArrayLike, target: ArrayLike) -> Aligned:
    """Fits brightness and a homography of a restored picture to its target.

    With the restored picture z and the target x in [0, 1]: z ← z Σxz / Σz² over all pixels and
    channels, then the homography that maximises the enhanced correlation coefficient (ECC) of the
    two in grey, found in 100 iterations from the identity on images smoothed by a 5×5 Gaussian. z
    is sampled bicubically with reflected borders; the mask is a picture of ones sampled by nearest
    neighbours with zeros around.

    Args:
      image: uint8 (H, W, 3), RGB.
      target: the same shape.

    Raises:
      UserError: OpenCV is not installed, another type or shape, or the pair cannot be aligned: one
        picture is of a single colour, or the two have too little in common.

    Source: J. Rim, H. Lee, J. Won, S. Cho, "Real-world blur dataset for learning and benchmarking
    deblurring algorithms", ECCV 2020; ECC by OpenCV after G. D. Evangelidis, E. Z. Psarakis,
    "Parametric image alignment using enhanced correlation coefficient maximization", IEEE Trans.
    PAMI 30(10), 2008.
    """
    cv2 = opencv()
    image, target = colour_pair("the alignment of RealBlur", image, target)
    # OpenCV registers and warps float32.
    restored, wanted = (array.astype(np.float32) / np.float32(255) for array in (image, target))
    squares = np.sum(np.square(restored), dtype=np.float64)
    if squares == 0:
        raise UserError("a black picture cannot be aligned with its target")
    restored *= np.float32(np.sum(wanted * restored, dtype=np.float64) / squares)

    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, 0.0)
    try:
        _, homography = cv2.findTransformECC(
            cv2.cvtColor(wanted, cv2.COLOR_RGB2GRAY),
            cv2.cvtColor(restored, cv2.COLOR_RGB2GRAY),
            np.eye(3, dtype=np.float32),
            cv2.MOTION_HOMOGRAPHY,
            criteria,
            np.ones(image.shape[:2], np.uint8),  # every pixel is valid
            _GAUSSIAN_SIDE,
        )
    except cv2.error:
        raise UserError(
            "a picture cannot be aligned with its target: OpenCV's ECC does not converge"
        ) from None

    height, width = image.shape[:2]
    warped = cv2.warpPerspective(
        restored,
        homography,
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    covered = cv2.warpPerspective(
        np.ones((height, width), np.float32),
        homography,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    mask = covered > 0
    inside = mask[..., None]
    moved, kept = (np.where(inside, x, 0).astype(np.float64) for x in (warped, wanted))
    return Aligned(moved, kept, mask)


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
