"""Norm and symmetry of Jacobians that are too large to write down, from their products."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.system.compilation import highest

Array = jax.Array


def inner(a: Any, b: Any) -> Array:
    """Return ⟨a, b⟩ of every image, (N,): summed over all other axes and the arrays of a tree."""
    products = jax.tree.map(lambda p, q: jnp.sum(p * q, axis=tuple(range(1, p.ndim))), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)), axis=0)


def norm(a: Any) -> Array:
    """Return ‖a‖₂ of every image, (N,)."""
    return jnp.sqrt(inner(a, a))


def root_mean_square(a: Any) -> Array:
    """Return ‖a‖₂ / √n of every image, (N,): in the unit of the values, whatever the size."""
    count = sum(leaf[0].size for leaf in jax.tree.leaves(a))
    return norm(a) / jnp.sqrt(count)


def add(a: Any, b: Any, factor: Array) -> Any:
    """Return a + factor · b, with a factor for each image, (N,)."""
    return jax.tree.map(lambda p, q: p + q * _as_column(factor, q).astype(q.dtype), a, b)


def unit(a: Any) -> Any:
    """Return a / ‖a‖₂ of every image; zeros stay zeros."""
    length = norm(a)
    factor = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
    return jax.tree.map(lambda leaf: leaf * _as_column(factor, leaf).astype(leaf.dtype), a)


def cosine(a: Any, b: Any) -> Array:
    """Return ⟨a, b⟩ / (‖a‖ ‖b‖) in [−1, 1], (N,); NaN if one of them is zero."""
    return inner(a, b) / (norm(a) * norm(b))


def probe(key: Array, like: Any) -> Any:
    """Return a random direction, uniform on the unit sphere of every image."""
    leaves, tree = jax.tree.flatten(like)
    # Drawn flat: XLA's CPU backend takes seconds to compile a draw of a four-dimensional shape.
    flat = jax.random.normal(key, (sum(leaf.size for leaf in leaves),), leaves[0].dtype)
    parts = jnp.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
    draws = [
        part.reshape(leaf.shape).astype(leaf.dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return unit(tree.unflatten(draws))


def _as_column(values: Array, like: Array) -> Array:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


@flax.struct.dataclass
class LargestSingularValue:
    """‖J‖₂ of every image's Jacobian.

    Attributes:
      value: the estimate from below, (N,). NaN where a product is not finite.
      converged: J is certain to have a singular value within the tolerance of it, (N,).
    """

    value: Array
    converged: Array


@highest
def largest_singular_value(
    push: Callable[[Any], Any], at: Any, key: Array, tolerance: float = 3e-2, most: int = 40
) -> LargestSingularValue:
    """Return ‖J‖₂ of a Jacobian that is given by its products, by bidiagonalisation.

    From a random unit v₁, one JVP and one VJP a step:

        αₙ uₙ = J vₙ − βₙ₋₁ uₙ₋₁,   βₙ vₙ₊₁ = Jᵀ uₙ − αₙ vₙ.

    The largest singular value σ of the bidiagonal matrix of α and β approaches ‖J‖₂ from below. J
    has a singular value within βₙ |pₙ| of σ, p the left singular vector (Golub and Kahan, 1965;
    Golub and Van Loan, Matrix Computations, 10.4). It is the largest one unless v₁ has no part in
    that one's direction, which has probability 0.

    Python drives the iteration, so it is not for use under `jit`: XLA's CPU backend is six times
    slower at a network's convolutions inside of a loop than outside.

    Args:
      push: u ↦ Ju as a pytree, such as what `jax.linearize` returns within a compiled function.
        Those that differ in their arrays alone share one compiled program.
      at: where the Jacobian is taken; only its shapes and types matter.
      key: of the first direction.
      tolerance: of βₙ |pₙ| / σ; the iteration ends when it is met, or after `most` steps.
    """
    v = probe(key, at)
    beta = jnp.zeros_like(inner(v, v))
    u: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(push, v))
    alphas, betas = [], []
    while True:
        u, alpha, v, beta = _bidiagonalise(push, u, v, beta)
        alphas.append(np.asarray(alpha, np.float64))
        betas.append(np.asarray(beta, np.float64))
        images = zip(np.transpose(alphas), np.transpose(betas), strict=True)
        value, error = np.array([_largest(*image) for image in images]).T
        converged = error <= tolerance * value
        if len(alphas) == most or (converged | np.isnan(value)).all():
            break
    return LargestSingularValue(jnp.asarray(value, alpha.dtype), jnp.asarray(converged))


@jax.jit
def _bidiagonalise(
    push: Callable[[Any], Any], u: Any, v: Any, beta: Array
) -> tuple[Any, Array, Any, Array]:
    """Return the next u, α, v and β."""
    image = add(push(v), u, -beta)
    alpha, u = norm(image), unit(image)
    (back,) = jax.linear_transpose(push, v)(u)
    back = add(back, v, -alpha)
    return u, alpha, unit(back), norm(back)


def _largest(alphas: NDArray, betas: NDArray) -> tuple[float, float]:
    """Return σ of a bidiagonal matrix and the bound βₙ |pₙ| on its error."""
    matrix = np.diag(alphas) + np.diag(betas[:-1], 1)
    if not np.isfinite(matrix).all():
        return np.nan, np.nan
    left, singular, _ = np.linalg.svd(matrix)
    return singular[0], abs(left[-1, 0]) * betas[-1]


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
