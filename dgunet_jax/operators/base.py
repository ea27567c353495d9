"""The gradient step, and operators that hold constants."""

import operator as arithmetic
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from dgunet_jax.system.errors import UserError

Array = jax.Array


class Operator(Protocol):
    """A degradation y = Φ(x) and its adjoint, exact or learned.

    Any object with these methods is one, if JAX can trace them. One that is a pytree, such as a
    `flax.struct.dataclass` of arrays, is an argument of what is compiled, so that other arrays need
    no compilation; the arrays of any other are constants. A `Restorer` needs one that takes images
    of every size and measures them by images of the same size.

    An operator may have an attribute `zero_extends`, True if it commutes with extending images by
    zeros: what it makes of an image does not change, within the image, when zeros are put below and
    to the right of it, as for a local operator with a zero border, and the same holds for the
    adjoint. Only then may images be smaller than the array they are in (`sizes`), and only then
    does a `Restorer` put images of several sizes into arrays of one. Without it, it is False.
    """

    def forward(self, x: Array) -> Array:
        """Φ(x): the measurement of an image (N, H, W, C)."""
        ...

    def adjoint(self, r: Array, at: Array) -> Array:
        """Φᵀ r: a residual brought back to the image; of a nonlinear Φ the derivative's at `at`."""
        ...

    def start(self, y: Array) -> Array:
        """x₀, the first estimate, from the measurement."""
        ...


def zero_extends(operator: Operator) -> bool:
    """Return whether an operator says that it commutes with extending images by zeros."""
    return bool(getattr(operator, "zero_extends", False))


def size_multiple(operator: Operator) -> int:
    """Return what an operator says that the sides of its images must be multiples of; else 1."""
    return int(getattr(operator, "size_multiple", 1))


def method(operator: Any, name: str) -> Any:
    """Return a method that an operator may have, such as `squared_norm`; else None."""
    held = operator.operator if isinstance(operator, Constant) else operator
    return getattr(held, name, None)


def image_shape(operator: Operator, y: Any) -> tuple[int, ...]:
    """Return the shape of the images that are measured as y: that of y, if nothing else is said."""
    found = method(operator, "image_shape")
    return y.shape if found is None else found(y)


def gradient_step(
    forward: Callable[[Array], Array],
    adjoint: Callable[[Array], Array],
    step_size: Any,
    x: Array,
    y: Array,
) -> Array:
    """One step of gradient descent on ½‖Φ(x) − y‖²: v = x − ρ Φᵀ(Φ(x) − y).

    Args:
      forward: Φ, image to measurement.
      adjoint: Φᵀ, measurement to image.
      step_size: ρ, a scalar.
      x: the estimate, any shape `forward` takes.
      y: the measurement, of the shape `forward` gives; a tree of arrays where that gives one.

    Returns:
      v, of the shape of `x`.

    Source: equation (5) of Mou, Wang, Zhang, CVPR 2022.
    """
    return x - step_size * adjoint(jax.tree.map(arithmetic.sub, forward(x), y))


@jax.tree_util.register_static
class Constant:
    """An operator that is part of the program: its arrays are constants there.

    Equal to another of the same object.
    """

    def __init__(self, operator: Any):
        self._operator = operator

    @property
    def operator(self) -> Operator:
        """What is held."""
        return self._operator

    def forward(self, x: Array) -> Array:
        return self._operator.forward(x)

    def adjoint(self, r: Array, at: Array | None = None) -> Array:
        return self._operator.adjoint(r, at=at)

    def start(self, y: Array) -> Array:
        return self._operator.start(y)

    @property
    def zero_extends(self) -> bool:
        return zero_extends(self._operator)

    @property
    def size_multiple(self) -> int:
        return size_multiple(self._operator)

    def image_shape(self, y: Any) -> tuple[int, ...]:
        return self._held("image_shape")(y)

    def measurement(self, shape: tuple[int, ...]) -> Any:
        return jax.eval_shape(self.forward, jax.ShapeDtypeStruct(shape, jnp.float32))

    def squared_norm(self) -> Any:
        return self._held("squared_norm")()

    def _held(self, name: str) -> Any:
        if not hasattr(self._operator, name):
            raise UserError(f"{type(self._operator).__name__} has no method {name}")
        return getattr(self._operator, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and other._operator is self._operator

    def __hash__(self) -> int:
        return id(self._operator)


def as_pytree(operator: Any) -> Any:
    """The operator as an argument of compiled functions.

    A pytree, such as a `flax.struct.dataclass` of arrays, stays what it is: with other arrays
    nothing is compiled anew. An object of any other class becomes a `Constant`; None stays None.
    """
    return Constant(operator) if jax.tree_util.all_leaves([operator]) else operator
