"""Norms and adjoints of linear maps that are too large to write down, from their products."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from numpy.typing import NDArray

from dgunet_jax.system.compilation import highest
from dgunet_jax.system.errors import UserError

Array = jax.Array


def inner(a: Any, b: Any) -> Array:
    """Return Re⟨a, b⟩ of every image, (N,): summed over all other axes and the arrays of a tree."""
    products = jax.tree.map(
        lambda p, q: jnp.sum(jnp.real(p * jnp.conj(q)), axis=tuple(range(1, p.ndim))), a, b
    )
    return jnp.sum(jnp.stack(jax.tree.leaves(products)), axis=0)


def norm(a: Any) -> Array:
    """Return ‖a‖₂ of every image, (N,)."""
    return jnp.sqrt(inner(a, a))


def add(a: Any, b: Any, factor: Array) -> Any:
    """Return a + factor · b, with a factor for each image, (N,)."""
    return jax.tree.map(lambda p, q: p + q * _as_column(factor, q).astype(q.dtype), a, b)


def unit(a: Any) -> Any:
    """Return a / ‖a‖₂ of every image; zeros stay zeros."""
    length = norm(a)
    factor = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
    return jax.tree.map(lambda leaf: leaf * _as_column(factor, leaf).astype(leaf.dtype), a)


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


def real_adjoint(function: Callable[[Any], Any], like: Any, r: Any) -> Any:
    """Return Φᴴr of a linear function of real arrays: Re⟨Φx, r⟩ = ⟨x, Φᴴr⟩ for every x.

    JAX transposes without conjugation, so that Φᴴr = Re conj(Φᵀ conj(r)).

    Args:
      function: Φ, from real arrays to real or complex ones.
      like: an x, or its shapes and types.
      r: of the shapes and types of Φx.
    """
    (back,) = jax.linear_transpose(function, like)(jax.tree.map(jnp.conj, r))
    return jax.tree.map(jnp.real, back)


@flax.struct.dataclass
class LargestSingularValue:
    """‖J‖₂ of every image's Jacobian.

    Attributes:
      value: the estimate from below, (N,). NaN where a product is not finite.
      converged: J is certain to have a singular value within the tolerance of it, (N,).
      error: the bound βₙ |pₙ| on the distance to that singular value, (N,).
    """

    value: Array
    converged: Array
    error: Array


@highest
def largest_singular_value(
    push: Callable[[Any], Any], at: Any, key: Array, tolerance: float = 3e-2, most: int = 40
) -> LargestSingularValue:
    """Return ‖J‖₂ of a Jacobian that is given by its products, by bidiagonalisation.

    From a random unit v₁, one JVP and one VJP a step:

        αₙ uₙ = J vₙ − βₙ₋₁ uₙ₋₁,   βₙ vₙ₊₁ = Jᴴ uₙ − αₙ vₙ.

    The largest singular value σ of the bidiagonal matrix of α and β approaches ‖J‖₂ from below. J
    has a singular value within βₙ |pₙ| of σ, p the left singular vector (Golub and Kahan, 1965;
    Golub and Van Loan, Matrix Computations, 10.4). It is the largest one unless v₁ has no part in
    that one's direction, which has probability 0.

    Python drives the iteration, so it is not for use under `jit`: XLA's CPU backend is six times
    slower at a network's convolutions inside of a loop than outside.

    Args:
      push: u ↦ Ju as a pytree, such as what `jax.linearize` returns within a compiled function.
        Those that differ in their arrays alone share one compiled program. Ju may be complex.
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
    return LargestSingularValue(
        jnp.asarray(value, alpha.dtype), jnp.asarray(converged), jnp.asarray(error, alpha.dtype)
    )


@jax.jit
def _bidiagonalise(
    push: Callable[[Any], Any], u: Any, v: Any, beta: Array
) -> tuple[Any, Array, Any, Array]:
    """Return the next u, α, v and β."""
    image = add(push(v), u, -beta)
    alpha, u = norm(image), unit(image)
    back = add(real_adjoint(push, v, u), v, -alpha)
    return u, alpha, unit(back), norm(back)


def _largest(alphas: NDArray, betas: NDArray) -> tuple[float, float]:
    """Return σ of a bidiagonal matrix and the bound βₙ |pₙ| on its error."""
    matrix = np.diag(alphas) + np.diag(betas[:-1], 1)
    if not np.isfinite(matrix).all():
        return np.nan, np.nan
    left, singular, _ = np.linalg.svd(matrix)
    return singular[0], abs(left[-1, 0]) * betas[-1]


def measured_norm(
    forward: Partial, shape: tuple[int, ...], dtype: Any = jnp.float32, tolerance: float = 1e-2
) -> Array:
    """Return ‖Φ‖² for images of one size, by bidiagonalisation; not for use under `jit`.

    It is (σ + e)², σ the estimate from below and e the bound on its error, so that it lies above
    ‖Φ‖² and at most by a factor (1 + `tolerance`)² where the iteration converges, in at most 100
    steps.

    Args:
      forward: Φ as a pytree, such as `Partial(function, kernel)`.
      shape: (N, H, W, C).
      dtype: of the images.

    Returns:
      A scalar for N = 1, otherwise (N, 1, 1, 1), a norm for each image.

    Raises:
      UserError: products are not finite.
    """
    at = jax.ShapeDtypeStruct(shape, dtype)
    found = largest_singular_value(forward, at, jax.random.key(0), tolerance, most=100)
    values = np.asarray(found.value)
    if not np.isfinite(values).all():
        raise UserError(
            f"the norm of the operator on images {shape} is {values[~np.isfinite(values)][0]}: its"
            " products are not finite"
        )
    squared = jnp.square(found.value + found.error)
    return squared[0] if len(squared) == 1 else squared.reshape(-1, 1, 1, 1)
