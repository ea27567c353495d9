"""Restoring pictures of any size."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.errors import UserError
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.padding import pad_to_multiple


def restore(
    model: DGUNet, variables: Mapping[str, Any], image: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Restores one image: padded to the next multiple, through the network, cropped.

    Products are computed at the highest precision, so that the result does not depend on the
    device. Each padded size is compiled once.

    Args:
      image: (H, W, C), floating point, values in [0, 1].

    Returns:
      (H, W, C), float32, not clamped.

    Raises:
      UserError: the image has another shape or dtype.
    """
    return restore_stages(model, variables, image)[-1]


def restore_stages(
    model: DGUNet, variables: Mapping[str, Any], image: NDArray[np.floating]
) -> NDArray[np.float32]:
    """As `restore`, with every stage's estimate: (K, H, W, C), first stage first."""
    if image.ndim != 3 or 0 in image.shape:
        raise UserError(f"the image has shape {image.shape}; it must be (H, W, C)")
    height, width, _ = image.shape
    padded = pad_to_multiple(image, model.config.multiple)
    with jax.default_matmul_precision("highest"):
        stages = _apply(model.config, model.operator, variables, padded[None])
    return np.asarray(stages[:, 0, :height, :width], np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _apply(config, operator, variables, images):
    restored: Any = DGUNet(config, operator).apply(variables, images)
    return restored.stages
