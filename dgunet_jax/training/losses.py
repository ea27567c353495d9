"""The published training losses, of the estimates of all stages.

Images are (..., H, W, C) in [0, 1]; sums run in float32 or wider.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.system.errors import UserError

Array = jax.Array
LossStages = Literal["all", "last"]

_CHARBONNIER_EPSILON = 1e-3
_EDGE_WEIGHT = 0.05
_GAUSSIAN = np.array([0.05, 0.25, 0.4, 0.25, 0.05])


def charbonnier(x: Array, y: Array) -> Array:
    """mean √((x − y)² + ε²), ε = 1e-3 (Charbonnier et al., ICIP 1994)."""
    difference = _wide(x) - _wide(y)
    return jnp.mean(jnp.sqrt(jnp.square(difference) + _CHARBONNIER_EPSILON**2))


def laplacian(x: Array) -> Array:
    """x − G(up(down(G(x)))), the finest level of a Laplacian pyramid (Burt and Adelson, 1983).

    G filters with [.05 .25 .4 .25 .05] along both axes and replicated borders, `down` keeps every
    second pixel, `up` puts zeros between and multiplies by 4.
    """
    x = _wide(x)
    height, width = x.shape[-3:-1]
    rows, columns = np.indices((height, width))
    even = np.broadcast_to(((rows | columns) % 2 == 0)[..., None], x.shape)
    return x - _gaussian(jnp.where(even, 4 * _gaussian(x), 0))


def edge(x: Array, y: Array) -> Array:
    """Charbonnier distance of the Laplacians."""
    return charbonnier(laplacian(x), laplacian(y))


def mean_squared_error(x: Array, y: Array) -> Array:
    """mean (x − y)²."""
    return jnp.mean(jnp.square(_wide(x) - _wide(y)))


def _charbonnier_and_edge(x: Array, y: Array) -> Array:
    return charbonnier(x, y) + _EDGE_WEIGHT * edge(x, y)


def _clamped_charbonnier(x: Array, y: Array) -> Array:
    return charbonnier(jnp.clip(x, 0, 1), y)


def _clamped_squares(x: Array, y: Array) -> Array:
    return mean_squared_error(jnp.clip(x, 0, 1), y)


LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "charbonnier_edge": _charbonnier_and_edge,
    "clamped_charbonnier": _clamped_charbonnier,
    "clamped_squares": _clamped_squares,
}
"""Loss of one estimate: deraining and deblurring; real denoising; compressive sensing."""


def stage_losses(name: str, stages: Array, target: Array) -> Array:
    """Loss of every stage, (K,).

    Args:
      name: one of `LOSSES`.
      stages: estimates (K, N, H, W, C).
      target: clean images (N, H, W, C).

    Raises:
      UserError: no loss has that name.
    """
    if name not in LOSSES:
        raise UserError(f"there is no loss {name!r}; the losses are {', '.join(LOSSES)}")
    return jnp.stack([LOSSES[name](stage, target) for stage in stages])


def total(stage_losses: Array, stages: LossStages) -> Array:
    """What is minimised, a scalar: the sum of the stages' losses (K,), or the last one."""
    return jnp.sum(stage_losses) if stages == "all" else stage_losses[-1]


def _gaussian(x: Array) -> Array:
    for axis in (-3, -2):
        border = [(0, 0)] * x.ndim
        border[axis] = (2, 2)
        padded = jnp.pad(x, border, mode="edge")
        shifted = (
            weight * jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis % x.ndim)
            for i, weight in enumerate(_GAUSSIAN.tolist())
        )
        x = functools.reduce(jnp.add, shifted)
    return x


def _wide(x: Array) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
