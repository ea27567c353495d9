"""Operators from functions."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from dgunet_jax.operators.arrays import concrete, described, is_complex, leaf, tracing
from dgunet_jax.operators.linear import KnownOperator, unmeasured
from dgunet_jax.operators.norm import inner, measured_norm, norm, real_adjoint
from dgunet_jax.system.compilation import highest
from dgunet_jax.system.errors import UserError, one_line

Array = jax.Array

PROBE = (32, 32, 3)  # the image that a function for every size is tried with


@flax.struct.dataclass
class LinearOperator(KnownOperator):
    """Φ(x) = f(x) of any linear function that JAX can trace; Φᴴ is its transpose.

    Once, when it is made, f is tried on random images: that it is linear, keeps the images of a
    batch apart, gives finite numbers, and that JAX's transpose of it is its adjoint. Then ‖Φ‖² is
    measured, from above and within 2 %. Nothing is tried or measured while JAX is tracing.

    Attributes:
      f: images (N, H, W, C) to arrays, or a tree of arrays, with a leading N. Arrays that f closes
        over are constants of what is compiled; those of a `jax.tree_util.Partial(g, a)`, which
        calls g(a, x), are arguments. The norm belongs to them as they are when it is made.
      shape: (H, W, C) of the images. None for an f that takes images of every size and measures
        them by images of the same size: f is then tried, and ‖Φ‖² measured, with images of
        32×32×3.
      dtype: of the images that f is tried with.
      norm: ‖Φ‖², a scalar; None measures it.

    Raises:
      UserError: f is not such a function; with the numbers that show it.
    """

    f: Any
    shape: tuple[int, int, int] | None = flax.struct.field(pytree_node=False)
    dtype: Any = flax.struct.field(pytree_node=False, default=jnp.float32)
    norm: Any = None

    def _check(self) -> None:
        if not callable(self.f):
            raise UserError(f"f is a {type(self.f).__name__}; it must be a function of images")
        if self.shape is not None:
            self._set(shape=tuple(int(side) for side in self.shape))
            if len(self.shape) != 3 or min(self.shape) < 1:
                raise UserError(f"shape is {self.shape}; it must be (H, W, C)")
        if not jnp.issubdtype(self.dtype, jnp.floating):
            raise UserError(f"dtype is {self.dtype}; it must be a floating-point type")
        f: Any = self.f if isinstance(self.f, Partial) else Partial(self.f)
        self._set(f=f, dtype=jnp.dtype(self.dtype))
        if self.norm is not None:
            self._set(norm=leaf("norm", self.norm, (0,)))
        if tracing() or any(concrete(each) is None for each in jax.tree.leaves(f)):
            return
        _try(f, (2, *(self.shape or PROBE)), self.dtype)
        if self.norm is None:
            shape = (1, *(self.shape or PROBE))
            self._set(norm=measured_norm(f, shape, self.dtype))

    def forward(self, x: Array) -> Any:
        self._images(x)
        if self.shape is not None:
            self._images(x, self.shape[:2], self.shape[2])
        return self.f(x)

    def squared_norm(self) -> Array | float:
        if self.norm is None:
            raise unmeasured(self)
        return self.norm

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        return y.shape if self.shape is None else (len(jax.tree.leaves(y)[0]), *self.shape)


@highest
def _try(f: Partial, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise a UserError unless f is linear, its transpose its adjoint, and images stay apart."""
    rng = np.random.default_rng(0)
    x, z = (jnp.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    like = jax.ShapeDtypeStruct(shape, dtype)
    try:
        shapes = jax.eval_shape(f, like)
        leaves = jax.tree.leaves(shapes)
    except Exception as error:  # f is the caller's own code
        raise UserError(f"f fails on images {shape}: {one_line(error)[:300]}") from error
    if not leaves or any(
        each.ndim < 1 or len(each) != shape[0] or not jnp.issubdtype(each.dtype, jnp.inexact)
        for each in leaves
    ):
        raise UserError(
            f"f gives {described(shapes) if leaves else 'nothing'} of images {shape}; it must give"
            f" floating-point or complex arrays with a leading {shape[0]}"
        )
    wrong, size, gap, other = map(float, _linearity(f, x, z))
    if wrong:
        raise UserError(
            f"f gives {wrong:.0f} of {sum(each.size for each in leaves)} values that are not"
            f" finite, of standard normal images {shape}"
        )
    allowed = float(jnp.finfo(dtype).eps) ** 0.5
    if not gap <= allowed * size:
        raise UserError(
            "f is not linear: of random images, f(a x + b z) and a f(x) + b f(z) differ by"
            f" {gap / size:.3g} of ‖f(x)‖ + ‖f(z)‖; at most {allowed:.1g} is rounding"
        )
    if not other <= allowed * size:
        raise UserError(
            f"f mixes the images of a batch: f(x) of one changes by {other / size:.3g} of"
            " ‖f(x)‖ + ‖f(z)‖ with the image beside it"
        )
    r = jax.tree.map(lambda each: _noise(rng, each), shapes)
    try:
        left, right, size = map(float, _pairing(f, x, r))
    except Exception as error:  # what JAX raises has no class of its own
        raise UserError(
            f"f has no transpose, so that it is not linear for JAX: {one_line(error)[:300]}"
        ) from error
    if not abs(left - right) <= allowed * size:
        raise UserError(
            f"JAX's transpose of f is not its adjoint: Re⟨f(x), r⟩ is {left:.6g}, ⟨x, fᴴ(r)⟩ is"
            f" {right:.6g}"
        )


@jax.jit
def _linearity(f: Partial, x: Array, z: Array) -> tuple[Array, Array, Array, Array]:
    """Number of values that are not finite, ‖f(x)‖ + ‖f(z)‖, and two errors in its unit.

    The first error is f(a x + b z) − a f(x) − b f(z), the second what the first image's f changes
    when the second image does.
    """
    fx, fz = f(x), f(z)
    wrong = jnp.asarray(sum(jnp.sum(~jnp.isfinite(each)) for each in jax.tree.leaves(fx)))
    a, b = 0.75, -1.25
    gap = jax.tree.map(lambda m, p, q: m - a * p - b * q, f(a * x + b * z), fx, fz)
    other = jax.tree.map(lambda p, q: p - q, f(x.at[1].set(z[1])), fx)
    return wrong, jnp.sum(norm(fx) + norm(fz)), jnp.sum(norm(gap)), norm(other)[0]


@jax.jit
def _pairing(f: Partial, x: Array, r: Any) -> tuple[Array, Array, Array]:
    """Re⟨f(x), r⟩, ⟨x, fᴴ(r)⟩ and ‖f(x)‖ ‖r‖, summed over the images."""
    fx = f(x)
    back = real_adjoint(f, x, r)
    return inner(fx, r).sum(), inner(x, back).sum(), (norm(fx) * norm(r)).sum()


def _noise(rng: np.random.Generator, like: Any) -> Array:
    noise = rng.standard_normal(like.shape)
    if is_complex(like):
        noise = noise + 1j * rng.standard_normal(like.shape)
    return jnp.asarray(noise, like.dtype)
