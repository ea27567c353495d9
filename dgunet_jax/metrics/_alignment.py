"""PSNR and SSIM after alignment, as RealBlur's protocol asks."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.metrics._psnr import check_rgb, check_uint8
from dgunet_jax.metrics._ssim import GAUSSIAN, REACH
from dgunet_jax.system.errors import UserError

_ITERATIONS = 100
_SMOOTHING_SIDE = 5  # pixels, of the Gaussian on which ECC works


class Aligned(NamedTuple):
    """A restored image moved onto its target; both are 0 outside the mask."""

    image: NDArray[np.float64]  # (H, W, 3), scaled in brightness and warped, nominally in [0, 1]
    target: NDArray[np.float64]  # (H, W, 3) in [0, 1]
    mask: NDArray[np.bool_]  # (H, W), where the restored image has pixels to compare


def opencv() -> Any:
    """Return OpenCV, which nothing else needs.

    Raises:
      UserError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        message = "scores of RealBlur need OpenCV: pip install opencv-python-headless"
        raise UserError(message) from None
    return cv2


def align(image: ArrayLike, target: ArrayLike) -> Aligned:
    """Fit brightness and a homography of a restored image to its target.

    With the restored image z and the target x in [0, 1]: z ← z Σxz / Σz² over all pixels and
    channels, then the homography that maximises the enhanced correlation coefficient (ECC) of the
    two in grey, found in 100 iterations from the identity on images smoothed by a 5×5 Gaussian. z
    is sampled bicubically with reflected borders; the mask is an image of ones sampled by nearest
    neighbours with zeros around.

    Args:
      image, target: uint8 (H, W, 3), RGB.

    Raises:
      ValueError: another type or shape.
      UserError: OpenCV is not installed, or the pair cannot be aligned: one image is of a single
        colour, or the two have too little in common.

    Source: J. Rim, H. Lee, J. Won, S. Cho, "Real-world blur dataset for learning and benchmarking
    deblurring algorithms", ECCV 2020; ECC by OpenCV after G. D. Evangelidis, E. Z. Psarakis,
    "Parametric image alignment using enhanced correlation coefficient maximization", IEEE Trans.
    PAMI 30(10), 2008.
    """
    cv2 = opencv()
    image, target = np.asarray(image), np.asarray(target)
    check_uint8("alignment (RealBlur)", image, target)
    check_rgb("alignment (RealBlur)", image)
    # OpenCV registers and warps float32.
    restored, wanted = (array.astype(np.float32) / np.float32(255) for array in (image, target))
    squares = np.sum(np.square(restored), dtype=np.float64)
    if squares == 0:
        raise UserError("a black image cannot be aligned with its target")
    restored *= np.float32(np.sum(wanted * restored, dtype=np.float64) / squares)

    try:
        _, homography = cv2.findTransformECC(
            cv2.cvtColor(wanted, cv2.COLOR_RGB2GRAY),
            cv2.cvtColor(restored, cv2.COLOR_RGB2GRAY),
            np.eye(3, dtype=np.float32),
            cv2.MOTION_HOMOGRAPHY,
            (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, 0.0),
            np.ones(image.shape[:2], np.uint8),  # every pixel is valid
            _SMOOTHING_SIDE,
        )
    except cv2.error:
        message = "an image cannot be aligned with its target: OpenCV's ECC does not converge"
        raise UserError(message) from None

    def warped(array: NDArray[np.float32], flags: int, border: int) -> NDArray[np.float32]:
        size, flags = array.shape[1::-1], flags | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(array, homography, size, flags=flags, borderMode=border)

    moved = warped(restored, cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
    covered = np.ones(image.shape[:2], np.float32)
    mask = warped(covered, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0
    moved, kept = (np.where(mask[..., None], x, 0).astype(np.float64) for x in (moved, wanted))
    return Aligned(moved, kept, mask)


def aligned_scores(image: ArrayLike, target: ArrayLike) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of the pixels two images share once `align` has aligned them.

    With m the mask of `align`, over pixels and channels:
    PSNR = 10 log₁₀(Σ m / Σ m (x − z)²), SSIM = Σ m s / Σ m. s is the SSIM of each channel under an
    11×11 Gaussian window, σ = 1.5, peak 1, of images that are 0 outside the mask; the second
    quotient leaves 5 pixels out at each border. Neither is symmetric: the image is moved, the
    target is not. The PSNR is infinite if nothing differs.

    Args:
      image, target: uint8 (H, W, 3), RGB, at least 11×11.

    Raises:
      ValueError: another type or shape.
      UserError: as `align`, or the aligned images have no pixels in common.

    Source: as `align`.
    """
    from skimage.metrics import structural_similarity

    image, target = np.asarray(image), np.asarray(target)
    check_uint8("SSIM (RealBlur)", image, target, side=2 * REACH + 1)
    moved, wanted, mask = align(image, target)
    inner = np.s_[REACH:-REACH, REACH:-REACH]
    if not mask[inner].any():
        raise UserError("an image has nothing in common with its target once they are aligned")
    error = np.mean(np.square(moved - wanted)[mask])
    settings = GAUSSIAN | {"data_range": 1, "channel_axis": 2, "full": True}
    similarity: NDArray[np.float64] = structural_similarity(moved, wanted, **settings)[1]
    ratio = math.inf if error == 0 else float(-10 * np.log10(error))
    return ratio, float(np.mean(similarity[inner][mask[inner]]))
