"""Least squares and total variation with any operator: what an image is without a network."""

import operator as arithmetic
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.operators.arrays import concrete
from dgunet_jax.operators.base import image_shape
from dgunet_jax.operators.library import Cropped
from dgunet_jax.operators.linear import KnownOperator
from dgunet_jax.operators.norm import add, inner
from dgunet_jax.system.errors import UserError

Array = jax.Array

_ERROR = 0.1  # of an estimate, in the images' unit: what noise is weighed against
_LEAST_NOISE = 0.5 / 255  # half a step of 8 bits


def conjugate_gradient(operator: Any, y: Any, steps: int, damping: float | Array = 0) -> Array:
    """Minimise ½‖Φx − y‖² + ½ λ‖x‖² of every image by conjugate gradients, from zero.

    The normal equations (ΦᴴΦ + λ) x = Φᴴy are solved in the form that forms residuals of the
    measurement and not of the normal equations (CGLS; Hestenes and Stiefel, 1952; Björck,
    Numerical Methods for Least Squares Problems, 1996, 7.4). Without damping it approaches the
    solution of least norm. More steps than are needed do no harm.

    It runs under `jit` and can be differentiated in every argument but `steps`.

    Args:
      operator: Φ, linear.
      y: the measurement, leading N.
      steps: each one Φ and one Φᴴ.
      damping: λ, at least 0, for all images or, (N,), for each.

    Returns:
      x, (N, H, W, C).

    Raises:
      UserError: `steps` or `damping` is negative, or y is not a measurement of Φ.
    """
    if steps < 0:
        raise UserError(f"steps is {steps}; it must be at least 0")
    known = concrete(damping)
    if known is not None and not (np.isfinite(known).all() and (known >= 0).all()):
        raise UserError(f"damping is {damping}; it must be a finite number, at least 0")
    y = jax.tree.map(jnp.asarray, y)
    dtype = jnp.real(jax.tree.leaves(y)[0]).dtype
    # A linear operator's adjoint is the same everywhere, but it may take the images' shape from it.
    at = jnp.zeros(image_shape(operator, y), dtype)
    s = operator.adjoint(y, at)
    damping = jnp.broadcast_to(jnp.asarray(damping, s.dtype), len(s))
    column = damping.reshape(-1, 1, 1, 1)
    first = inner(s, s)
    # Of an image that is solved only rounding is left: it stays, and no quotient of what is left,
    # nor a derivative of one, is formed.
    solved = jnp.square(10 * jnp.finfo(s.dtype).eps) * first

    def step(_, state):
        x, r, s, p, gamma = state
        q, moving = operator.forward(p), gamma > solved
        # ⟨s, p⟩ is γ but for rounding, and this is the best step along p.
        length = jnp.where(moving, inner(q, q) + damping * inner(p, p), 0)
        alpha = _quotient(inner(s, p), length)
        x, r = add(x, p, alpha), add(r, q, -alpha)
        s = operator.adjoint(r, at) - column * x
        after = inner(s, s)
        beta = _quotient(after, jnp.where(moving, gamma, 0))
        return x, r, s, add(s, p, beta), jnp.where(moving, after, gamma)

    return jax.lax.fori_loop(0, steps, step, (jnp.zeros_like(s), y, s, s, first))[0]


def _quotient(a: Array, b: Array) -> Array:
    """a / b, and 0 for b = 0, in the derivative too."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def implicit_gradient_step(operator: Any, step_size: Any, x: Array, y: Any, steps: int) -> Array:
    """Solve v = x − ρ Φᴴ(Φv − y), the gradient step whose gradient is taken where it ends.

    So v is the minimum of ½‖Φv − y‖² + ‖v − x‖² / (2ρ), the proximal map of the data's term. For
    small ρ it is the explicit step; for a large one it stays stable, and goes as far as many
    explicit ones. It is approached by conjugate gradients that begin at x.

    Args:
      operator: Φ, linear.
      step_size: ρ, above 0: a scalar, or a value for each image, (N, 1, 1, 1).
      x: (N, H, W, C).
      y: the measurement, leading N.
      steps: of conjugate gradients.

    Returns:
      v, of the shape of x.
    """
    residual = jax.tree.map(arithmetic.sub, y, operator.forward(x))
    return x + conjugate_gradient(operator, residual, steps, 1 / jnp.ravel(step_size))


def noise_damping(noise: Array) -> Array:
    """Return λ = (σ² + ε²) / 0.1², ε half a step of 8 bits.

    With noise of standard deviation σ and an estimate whose error is 0.1, both Gaussian, the most
    probable image is the minimum of ½‖Φx − y‖² + ½ λ ‖x − estimate‖².
    """
    return (jnp.square(noise) + _LEAST_NOISE**2) / _ERROR**2


def first_estimate(operator: Any, y: Any, steps: int, damping: float | Array = 0) -> Array:
    """Return x₀: what the operator makes of y or, with `steps`, conjugate gradients do."""
    if not steps:
        return operator.start(y)
    if isinstance(operator, Cropped):
        return operator.extended(conjugate_gradient(operator.operator, y, steps, damping))
    return conjugate_gradient(operator, y, steps, damping)


def total_variation(
    operator: KnownOperator, y: Any, weight: float | Array, steps: int = 60, inner_steps: int = 8
) -> Array:
    """Minimise ½‖Φx − y‖² + λ TV(x) of every image by accelerated proximal gradient steps.

    TV(x) is the sum over pixels of the length of the differences to the pixels below and to the
    right in all channels together (Rudin, Osher and Fatemi, 1992; of vectors: Bresson and Chan,
    2008). The steps are FISTA's, of length 1/‖Φ‖²; its proximal map is approached by accelerated
    projected gradient steps on the dual, which go on where the last ones ended (Beck and Teboulle,
    IEEE TIP 2009).

    Args:
      operator: Φ.
      y: the measurement, leading N.
      weight: λ, above 0, for values in [0, 1].
      steps: each one Φ and one Φᴴ.
      inner_steps: on the dual in each of them.

    Returns:
      x, (N, H, W, C).

    Raises:
      UserError: `weight` is not above 0, or y is not a measurement of Φ.
    """
    known = concrete(weight)
    if known is not None and not (known.ndim == 0 and np.isfinite(known) and known > 0):
        raise UserError(f"weight is {weight}; it must be a finite number above 0")
    operator.image_shape(y)
    squared = jnp.asarray(operator.squared_norm())
    x = operator.start(y)
    dual = jnp.zeros((2, *x.shape), x.dtype)

    def step(_, state):
        x, ahead, dual, t = state
        residual = jax.tree.map(jnp.subtract, operator.forward(ahead), y)
        v = ahead - operator.adjoint(residual) / squared
        after, dual = _proximal(v, jnp.asarray(weight, x.dtype) / squared, dual, inner_steps)
        faster = (1 + jnp.sqrt(1 + 4 * t * t)) / 2
        return after, after + (t - 1) / faster * (after - x), dual, faster

    return jax.lax.fori_loop(0, steps, step, (x, x, dual, jnp.ones((), x.dtype)))[0]


def _proximal(v: Array, weight: Array, dual: Array, steps: int) -> tuple[Array, Array]:
    """Return argmin ½‖u − v‖² + λ TV(u) approached from a dual variable, and the variable after."""
    weight = jnp.broadcast_to(weight, (len(v), 1, 1, 1)) if weight.ndim else weight

    def step(_, state):
        p, ahead, t = state
        # 8 bounds the squared norm of the differences.
        moved = ahead + _differences(v - weight * _divergence(ahead)) / (8 * weight)
        length = jnp.sqrt(jnp.square(moved).sum((0, -1), keepdims=True))
        after = moved / jnp.maximum(1, length)
        faster = (1 + jnp.sqrt(1 + 4 * t * t)) / 2
        return after, after + (t - 1) / faster * (after - p), faster

    p = jax.lax.fori_loop(0, steps, step, (dual, dual, jnp.ones((), v.dtype)))[0]
    return v - weight * _divergence(p), p


def _differences(x: Array) -> Array:
    """The pixel below minus the pixel, and the one to the right; 0 at the border."""
    down = jnp.diff(x, axis=1, append=x[:, -1:])
    right = jnp.diff(x, axis=2, append=x[:, :, -1:])
    return jnp.stack([down, right])


def _divergence(p: Array) -> Array:
    """The transpose of `_differences`."""
    return jax.linear_transpose(_differences, p[0])(p)[0]
