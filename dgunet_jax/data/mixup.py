"""MixUp: weighted means of the images of a batch.

Source: Zhang, Cissé, Dauphin, Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018.
"""

import numpy as np
from numpy.typing import NDArray

_CONCENTRATION = 0.6  # both parameters of the Beta distribution, as published for denoising


def draw_mixup(
    batch: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draws with what each image of a batch is mixed, and how much of itself is left.

    Args:
      batch: images of the batch.
      rng: what draws.

    Returns:
      `partners`, a random permutation of the batch, and `weights`, λ ~ Beta(0.6, 0.6) for each
      image: image i becomes λ_i x_i + (1 − λ_i) x_partners[i], and its target likewise.
    """
    partners = rng.permutation(batch)
    weights = rng.beta(_CONCENTRATION, _CONCENTRATION, batch).astype(np.float32)
    return partners, weights


def mix(
    image: NDArray[np.float32], partner: NDArray[np.float32], weight: np.float32
) -> NDArray[np.float32]:
    """λ image + (1 − λ) partner."""
    mixed = weight * image + (1 - weight) * partner
    return mixed.astype(np.float32, copy=False)
