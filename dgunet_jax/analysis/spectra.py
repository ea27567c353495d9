"""Norm and symmetry of Jacobians that are too large to write down, from their products."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.operators.norm import (
    LargestSingularValue,
    add,
    inner,
    largest_singular_value,
    norm,
    probe,
    unit,
)
from dgunet_jax.system.compilation import highest

__all__ = [
    "LargestSingularValue",
    "Symmetry",
    "add",
    "cosine",
    "inner",
    "largest_singular_value",
    "norm",
    "probe",
    "root_mean_square",
    "symmetry",
    "unit",
]

Array = jax.Array


def root_mean_square(a: Any) -> Array:
    """Return ‖a‖₂ / √n of every image, (N,): in the unit of the values, whatever the size."""
    count = sum(leaf[0].size for leaf in jax.tree.leaves(a))
    return norm(a) / jnp.sqrt(count)


def cosine(a: Any, b: Any) -> Array:
    """Return ⟨a, b⟩ / (‖a‖ ‖b‖) in [−1, 1], (N,); NaN if one of them is zero."""
    return inner(a, b) / (norm(a) * norm(b))


@flax.struct.dataclass
class Symmetry:
    """Distance of a Jacobian from those of proximal maps; each (N,).

    These are symmetric and positive semi-definite (Moreau, 1965).

    Attributes:
      gap: E|⟨Ju, w⟩ − ⟨u, Jw⟩| / E(|⟨Ju, w⟩| + |⟨u, Jw⟩|) over random unit u and w, in [0, 1]; 0
        for a symmetric J, 1 for a rotation by 90°.
      lowest_quotient: the least ⟨u, Ju⟩ of the probes.
      negative: a ⟨u, Ju⟩ is below −√n ε ‖Ju‖, which rounding to ε does not explain in a sum of n
        products. It proves that J is not positive semi-definite. False proves nothing.
    """

    gap: Array
    lowest_quotient: Array
    negative: Array


@highest
def symmetry(push: Callable[[Array], Array], at: Array, key: Array, probes: int = 16) -> Symmetry:
    """Measure the symmetry of a Jacobian with 2 · probes JVPs.

    Args:
      push, at: as for `largest_singular_value`, each image alone.
      key: of the random directions, `probes` pairs.
    """
    pairs = [_products(push, at, each) for each in jax.random.split(key, probes)]
    left, right, quotients, negative = (jnp.stack(values) for values in zip(*pairs, strict=True))
    gap = jnp.abs(left - right).mean(axis=0) / (jnp.abs(left) + jnp.abs(right)).mean(axis=0)
    return Symmetry(gap, quotients.min(axis=0), negative.any(axis=0))


@jax.jit
def _products(
    push: Callable[[Array], Array], at: Array, key: Array
) -> tuple[Array, Array, Array, Array]:
    """Return ⟨Ju, w⟩, ⟨u, Jw⟩, min(⟨u, Ju⟩, ⟨w, Jw⟩) and `negative` for random unit u and w."""
    u, w = (probe(each, at) for each in jax.random.split(key))
    pushed_u, pushed_w = push(u), push(w)
    quotients = jnp.stack([inner(u, pushed_u), inner(w, pushed_w)])
    rounding = at[0].size ** 0.5 * jnp.finfo(at.dtype).eps
    lengths = jnp.stack([norm(pushed_u), norm(pushed_w)])
    negative = (quotients < -rounding * lengths).any(axis=0)
    return inner(pushed_u, w), inner(u, pushed_w), quotients.min(axis=0), negative
