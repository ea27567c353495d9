"""Images, and trees of arrays, as vectors: the first axis counts pictures, each a vector alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def inner(a: Any, b: Any) -> Array:
    """⟨a, b⟩ of every picture, (N,): summed over all other axes and over the arrays of a tree."""
    products = jax.tree.map(lambda p, q: jnp.sum(p * q, axis=tuple(range(1, p.ndim))), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)), axis=0)


def norm(a: Any) -> Array:
    """‖a‖₂ of every picture, (N,)."""
    return jnp.sqrt(inner(a, a))


def root_mean_square(a: Any) -> Array:
    """‖a‖₂ / √n of every picture, (N,): in the unit of the values, whatever the size."""
    count = sum(leaf[0].size for leaf in jax.tree.leaves(a))
    return norm(a) / jnp.sqrt(count)


def add(a: Any, b: Any, factor: Array) -> Any:
    """a + factor · b, the factor (N,) one for each picture."""
    return jax.tree.map(lambda p, q: p + q * _as_column(factor, q).astype(q.dtype), a, b)


def unit(a: Any) -> Any:
    """a / ‖a‖₂ for every picture; zeros stay zeros."""
    length = norm(a)
    factor = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
    return jax.tree.map(lambda leaf: leaf * _as_column(factor, leaf).astype(leaf.dtype), a)


def cosine(a: Any, b: Any) -> Array:
    """⟨a, b⟩ / (‖a‖ ‖b‖) in [−1, 1], (N,); NaN if one of them is zero."""
    return inner(a, b) / (norm(a) * norm(b))


def probe(key: Array, like: Any) -> Any:
    """A random direction, uniform on the unit sphere of every picture."""
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
