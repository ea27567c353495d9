"""The scores of a restored picture by a protocol."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.evaluation.protocols import Measure, Protocol
from dgunet_jax.images.picture import to_uint8
from dgunet_jax.metrics.aligned_scores import aligned_scores
from dgunet_jax.metrics.luma import studio_luma
from dgunet_jax.metrics.psnr import psnr
from dgunet_jax.metrics.similarity import GAUSSIAN_SIDE
from dgunet_jax.metrics.ssim_uniform import SIDE, ssim_uniform
from dgunet_jax.metrics.ssim_volume import ssim_volume
from dgunet_jax.metrics.ssim_wang import ssim_wang
from dgunet_jax.system.errors import UserError

# The least height and width, in pixels, that each can be computed of: the window's.
SMALLEST: dict[Measure, int] = {
    "rgb": SIDE,
    "rgb_volume": 1,
    "luma": GAUSSIAN_SIDE,
    "aligned": GAUSSIAN_SIDE,
    "grey": SIDE,
    "server": 1,
}


class Scores(NamedTuple):
    """PSNR in dB and SSIM; infinite and 1 for equal pictures, if they are rounded to 8 bits."""

    psnr: float
    ssim: float


def compare(
    protocol: Protocol, restored: NDArray[np.floating], target: NDArray[np.uint8]
) -> Scores:
    """Scores a picture.

    Args:
      protocol: `measure` and `rounded` say what is computed.
      restored: (H, W, C), floating point, nominally in [0, 1]; it is clamped to that.
      target: the same shape, all values of 8 bits.

    Raises:
      UserError: a value is not finite, the shapes differ, or the picture is too small for the
        measure's window.
    """
    if restored.shape != target.shape:
        sizes = (f"{width}×{height}" for height, width in (restored.shape[:2], target.shape[:2]))
        raise UserError("it is {} pixels large, its target {}".format(*sizes))
    rounded = to_uint8(restored)
    if protocol.measure == "aligned":
        return Scores(*aligned_scores(rounded, target))
    if protocol.measure == "luma":
        lumas = studio_luma(rounded), studio_luma(target)
        return Scores(psnr(*lumas, peak=255), ssim_wang(*lumas))
    pair = rounded, target
    if not protocol.rounded:
        clamped = 255 * restored.astype(np.float64).clip(0, 1)
        pair = clamped, target.astype(np.float64)
    ssim = ssim_volume if protocol.measure == "rgb_volume" else ssim_uniform
    return Scores(psnr(*pair, peak=255), ssim(*pair, peak=255))
