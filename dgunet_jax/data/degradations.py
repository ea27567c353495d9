"""What makes a degraded picture of a clean one."""

import math

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.system.errors import UserError


def check_sigma(sigma: float) -> None:
    """Raises a UserError unless `sigma` is a standard deviation: finite and not negative."""
    if not (math.isfinite(sigma) and sigma >= 0):
        raise UserError(f"sigma is {sigma}; it must be a finite number, at least 0")


def gaussian_noise(
    clean: NDArray[np.floating], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Adds white Gaussian noise: noisy = clean + σ/255 · n, n ~ N(0, 1) for every value.

    The result is not clipped to [0, 1]. Noise and sum are computed in float64 and rounded once.

    Args:
      clean: floating point in [0, 1], any shape.
      sigma: σ, standard deviation of the noise on the [0, 255] scale.
      rng: what draws n; advanced by as many normal numbers as `clean` has values.

    Returns:
      float32, the shape of `clean`.

    Raises:
      UserError: σ is negative or not finite, or `clean` is not floating point.
    """
    check_sigma(sigma)
    if not np.issubdtype(clean.dtype, np.floating):
        raise UserError(f"noise is added to floating-point images in [0, 1]; got {clean.dtype}")
    noise = rng.standard_normal(clean.shape)
    return (clean + (sigma / 255) * noise).astype(np.float32)
