"""Orthogonal projection of features onto the span of a few basis maps."""

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array

# Ridges of the two Gram matrices, relative to columns of unit length. The first must exceed the
# rounding of a float32 sum over a whole picture (1e-5), the second only has to keep the second
# factorisation defined.
_RIDGES = {jnp.dtype("float32"): (1e-4, 1e-5), jnp.dtype("float64"): (1e-10, 1e-12)}
# A basis map with a smaller norm counts as zero.
_SMALLEST_NORM = 1e-6


def project(basis: Array, features: Array) -> Array:
    """Projects `features` z onto the span of the maps of `basis` V: z' = V (VᵀV)⁻¹ Vᵀ z.

    The projector depends on the span of V alone. V is therefore first brought to nearly orthonormal
    columns (unit length, then the inverse Cholesky factor of the Gram matrix, both constants for
    the derivative), and only then the normal equations are solved. Linearly dependent and zero
    columns are allowed: z' is the projection onto the span of the others. First derivatives are
    exact; second derivatives with respect to V are not.

    Args:
      basis: (N, H, W, B) maps, any scale.
      features: (N, H, W, C), float32 or float64 like `basis`. Pixels at which both are zero do not
        count.

    Returns:
      (N, H, W, C), in the dtype of `features`.

    Source: subspace projection as in Cheng et al., "NBNet: Noise Basis Learning for Image Denoising
      with Subspace
    Projection", CVPR 2021; the conditioning is this project's (docs/decisions.md).
    """
    ridge, small_ridge = _RIDGES[jnp.dtype(basis.dtype)]
    eye = jnp.eye(basis.shape[-1], dtype=basis.dtype)[None]

    constant = lax.stop_gradient(basis)
    scale = 1 / (jnp.sqrt(jnp.sum(jnp.square(constant), (1, 2))) + _SMALLEST_NORM)
    gram = _inner(constant, constant) * scale[:, :, None] * scale[:, None, :]
    factor = lax.linalg.cholesky(gram + ridge * eye)
    # Columns of V·change are orthonormal up to the ridge: change = diag(scale) L⁻ᵀ.
    change = scale[:, :, None] * lax.linalg.triangular_solve(
        factor, jnp.broadcast_to(eye, gram.shape), left_side=True, lower=True
    ).swapaxes(1, 2)
    frame = _apply(basis, change)

    coefficients = _solve(_inner(frame, frame), _inner(frame, features), small_ridge * eye)
    return _apply(frame, coefficients)


def _solve(gram: Array, right: Array, ridge: Array) -> Array:
    """gram⁻¹ · right by Cholesky with a ridge and one step of refinement; implicit derivatives."""
    factor = lax.stop_gradient(lax.linalg.cholesky(lax.stop_gradient(gram) + ridge))

    def approximate(b):
        half = lax.linalg.triangular_solve(factor, b, left_side=True, lower=True)
        return lax.linalg.triangular_solve(
            factor, half, left_side=True, lower=True, transpose_a=True
        )

    def matvec(c):
        return jnp.matmul(gram, c, precision="highest")

    def solve(matvec, b):
        c = approximate(b)
        return c + approximate(b - matvec(c))

    return lax.custom_linear_solve(matvec, right, solve, symmetric=True)


def _inner(a: Array, b: Array) -> Array:
    """aᵀb over all pixels, (N, A, B); row by row, since one long float32 sum loses too much."""
    rows = jnp.einsum("nhwa,nhwb->nhab", a, b, precision="highest")
    return jnp.sum(rows, 1)


def _apply(maps: Array, matrix: Array) -> Array:
    return jnp.einsum("nhwa,nab->nhwb", maps, matrix, precision="highest")
