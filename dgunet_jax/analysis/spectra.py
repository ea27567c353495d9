"""Jacobians that are too large to write down: their norm and their symmetry, from products."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.vectors import inner, norm, probe, unit

Array = jax.Array


@flax.struct.dataclass
class LargestSingularValue:
    """‖J‖₂ of every picture's Jacobian.

    Attributes:
      value: the estimate, (N,); it comes from below.
      iterations: how many were made, a scalar.
      converged: whether the last one changed it by less than the tolerance, (N,).
    """

    value: Array
    iterations: Array
    converged: Array


def largest_singular_value(
    function: Callable[[Any], Any],
    at: Any,
    key: Array,
    tolerance: float = 1e-3,
    most: int = 100,
) -> LargestSingularValue:
    """‖J‖₂ of a function's Jacobian, by power iteration on JᵀJ.

    From a random unit u again and again: σ = ‖Ju‖, then u = JᵀJu / ‖JᵀJu‖; one JVP and one VJP an
    iteration. σ never falls; it converges as (σ₂/σ₁)^(2n) (Golub and Van Loan, Matrix
    Computations, 8.2). That the last step was small does not prove that the limit is near.

    Args:
      function: of arrays, or trees of them, whose first axis counts pictures; each picture's
        result depends on that picture alone.
      at: where it is differentiated.
      key: of the first direction.
      tolerance: relative change at which the iteration ends.
      most: iterations after which it ends anyway.
    """
    _, push = jax.linearize(function, at)
    state = jax.lax.while_loop(
        lambda state: _unfinished(state, tolerance, most),
        lambda state: _iterate(push, state),
        _first(at, key),
    )
    return _found(state, tolerance)


def largest_singular_value_of(
    push: Callable[[Any], Any], at: Any, key: Array, tolerance: float = 1e-3, most: int = 100
) -> LargestSingularValue:
    """`largest_singular_value` of a Jacobian that is given by its products, driven from Python.

    Not for use under `jit`. XLA's CPU backend is six times slower at a network's convolutions
    inside of a loop than outside.

    Args:
      push: u ↦ Ju as a pytree, such as what `jax.linearize` gives within a compiled function that
        returns it. Those that differ in their arrays alone share one compiled program.
      at, key, tolerance, most: as there.
    """
    state = _first(at, key)
    while _unfinished(state, tolerance, most):
        state = _iterate_compiled(push, state)
    return _found(state, tolerance)


def _first(at: Any, key: Array) -> Any:
    u = probe(key, at)
    none = jnp.full_like(inner(u, u), -1)
    return u, none, jnp.zeros_like(none), jnp.zeros((), jnp.int32)


def _unfinished(state: Any, tolerance: float, most: int) -> Array:
    _, before, value, i = state
    return (i < most) & ~jnp.all(_close(before, value, tolerance))


def _iterate(push: Callable[[Any], Any], state: Any) -> Any:
    u, _, value, i = state
    image = push(u)
    (back,) = jax.linear_transpose(push, u)(image)
    return unit(back), value, norm(image), i + 1


_iterate_compiled = jax.jit(_iterate)


def _found(state: Any, tolerance: float) -> LargestSingularValue:
    _, before, value, iterations = state
    return LargestSingularValue(value, iterations, _close(before, value, tolerance))


@flax.struct.dataclass
class Symmetry:
    """How far a Jacobian is from those of proximal maps, which are symmetric and positive
    semi-definite (Moreau, 1965); each (N,).

    Attributes:
      gap: E|⟨Ju, w⟩ − ⟨u, Jw⟩| / E(|⟨Ju, w⟩| + |⟨u, Jw⟩|) over random unit u and w, in [0, 1]; 0
        for a symmetric J, 1 for a rotation by 90°.
      lowest_quotient: the least ⟨u, Ju⟩ that was met; negative proves that J is not positive
        semi-definite, positive proves nothing.
    """

    gap: Array
    lowest_quotient: Array


def symmetry(
    function: Callable[[Array], Array], at: Array, key: Array, probes: int = 16
) -> Symmetry:
    """Measures the symmetry of a function's Jacobian with 2 · probes JVPs.

    Args:
      function: images to images of the same shape, each picture alone.
      at: where it is differentiated, (N, ...).
      key: of the random directions.
      probes: pairs of them.
    """
    return symmetry_of(jax.linearize(function, at)[1], at, key, probes)


def symmetry_of(
    push: Callable[[Array], Array], at: Array, key: Array, probes: int = 16
) -> Symmetry:
    """`symmetry` of a Jacobian that is given by its products, as in `largest_singular_value_of`."""
    pairs = [_products(push, at, each) for each in jax.random.split(key, probes)]
    left, right, quotients = (jnp.stack(values) for values in zip(*pairs, strict=True))
    gap = jnp.abs(left - right).mean(axis=0) / (jnp.abs(left) + jnp.abs(right)).mean(axis=0)
    return Symmetry(gap=gap, lowest_quotient=quotients.min(axis=0))


@jax.jit
def _products(push: Callable[[Array], Array], at: Array, key: Array) -> tuple[Array, Array, Array]:
    """⟨Ju, w⟩, ⟨u, Jw⟩ and the lesser of ⟨u, Ju⟩ and ⟨w, Jw⟩ for random unit u and w."""
    u, w = (probe(each, at) for each in jax.random.split(key))
    pushed_u, pushed_w = push(u), push(w)
    quotients = jnp.minimum(inner(u, pushed_u), inner(w, pushed_w))
    return inner(pushed_u, w), inner(u, pushed_w), quotients


def _close(before: Array, value: Array, tolerance: float) -> Array:
    return jnp.abs(value - before) <= tolerance * value
