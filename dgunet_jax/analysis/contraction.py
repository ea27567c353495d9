"""How much a stage stretches differences, and whether its proximal map could be one."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.spectra import (
    LargestSingularValue,
    Symmetry,
    largest_singular_value_of,
    symmetry_of,
)
from dgunet_jax.models.proximal import Memory
from dgunet_jax.models.unfold import UnfoldedStage
from dgunet_jax.system.compilation import highest

Array = jax.Array

TOLERANCE = 3e-2  # relative, of the largest singular values


@flax.struct.dataclass
class Contraction:
    """Norms of a stage's Jacobians.

    Attributes:
      image: ‖∂x_k/∂x_{k−1}‖₂ with the memory held: below 1 the stage contracts near this picture.
      state: ‖∂(x_k, memory_k)/∂(x_{k−1}, memory_{k−1})‖₂; the memory is features, whose scale is
        the network's own, so it is to be compared between stages rather than with 1.
      proximal: of ∂x_k/∂v_k with the memory held.
    """

    image: LargestSingularValue
    state: LargestSingularValue
    proximal: Symmetry


@highest
def contraction(
    stage: UnfoldedStage,
    x: Array,
    memory: Memory | None,
    y: Array,
    key: Array,
    tolerance: float = TOLERANCE,
    most: int = 40,
    probes: int = 8,
) -> Contraction:
    """Measures a stage where it was used; up to 2 · most JVPs and VJPs of it, and 2 · probes JVPs.

    Source: a map whose Jacobian has norm below 1 all over contracts, and iterating it then has one
    limit (Banach, 1922); proximal maps are gradients of convex functions (Moreau, 1965), hence the
    symmetry. At one picture this refutes, and cannot prove.

    Not for use under `jit`: see `largest_singular_value_of`.

    Args:
      stage: as `dgunet_jax.unfold` gives it.
      x: the estimate before it, (N, H, W, C).
      memory: the memory before it; None before the first stage.
      y: the measurement.
      key: of random directions.
      tolerance, most: of the iterations, see `largest_singular_value_of`.
      probes: see `symmetry`.
    """
    keys = jax.random.split(key, 3)
    of_gradient, of_proximal = _linearized(stage, x, memory, y)

    def largest(key: Array, of_memory: float) -> LargestSingularValue:
        push = _OfState(of_gradient, of_proximal, jnp.asarray(of_memory, x.dtype))
        return largest_singular_value_of(push, (x, memory), key, tolerance, most)

    return Contraction(
        image=largest(keys[0], 0.0),
        state=largest(keys[1], 1.0),
        proximal=symmetry_of(_OfProximal(of_proximal, memory), x, keys[2], probes),
    )


@jax.jit
def _linearized(
    stage: UnfoldedStage, x: Array, memory: Memory | None, y: Array
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """dx ↦ dv, and (dv, dmemory) ↦ (dx, dmemory) after the stage."""
    v, of_gradient = jax.linearize(lambda x: stage.gradient(x, y), x)
    _, of_proximal = jax.linearize(lambda v, memory: stage.proximal(v, memory, y), v, memory)
    return of_gradient, of_proximal


@flax.struct.dataclass
class _OfState:
    """(dx, dmemory) ↦ what becomes of them, both memories times `of_memory`: 1, or 0 to hold it.

    One program serves both.
    """

    of_gradient: Callable[..., Any]
    of_proximal: Callable[..., Any]
    of_memory: Array

    def __call__(self, state: tuple[Array, Memory | None]) -> tuple[Array, Memory | None]:
        after, memory = self.of_proximal(self.of_gradient(state[0]), self._scaled(state[1]))
        return after, self._scaled(memory)

    def _scaled(self, memory: Memory | None) -> Memory | None:
        return jax.tree.map(lambda leaf: self.of_memory.astype(leaf.dtype) * leaf, memory)


@flax.struct.dataclass
class _OfProximal:
    """dv ↦ dx with the memory held."""

    of_proximal: Callable[..., Any]
    memory: Memory | None

    def __call__(self, dv: Array) -> Array:
        return self.of_proximal(dv, jax.tree.map(jnp.zeros_like, self.memory))[0]
