"""What every known degradation has, and operators made of others: products, sums and stacks."""

import functools
import operator as arithmetic
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from dgunet_jax.operators.arrays import described, is_complex, leaf, real_dtype, signature
from dgunet_jax.operators.norm import measured_norm, real_adjoint
from dgunet_jax.system.errors import UserError

Array = jax.Array


@flax.struct.dataclass
class KnownOperator:
    """A linear degradation Φ of images, with its adjoint, its norm and the shapes it maps.

    A subclass is a `flax.struct.dataclass` too. It gives `forward`, `squared_norm` and
    `_image_shape`, and what it overrides for speed or exactness. Its arrays are leaves of a pytree,
    so that other arrays compile nothing anew; its choices are static fields. An array that differs
    between the images of a batch has a leading N, one that serves all of them has not.

    Values are checked where an operator is made of concrete arrays. What JAX's transformations or
    `replace` put in their place is not checked.

    Operators are composed by ``a @ b`` (first b, then a), added by ``+`` and ``-``, and scaled by
    real numbers by ``*``.

    Attributes:
      zero_extends: Φ and Φᴴ commute with extending images by zeros, see `Operator`.
      size_multiple: the sides of images must be multiples of it.
      pointwise: every pixel of a measurement depends on the same pixel of the image alone.
    """

    zero_extends: ClassVar[bool] = False
    size_multiple: ClassVar[int] = 1
    pointwise: ClassVar[bool] = False
    __array_ufunc__: ClassVar[None] = None  # so that a NumPy number times an operator is one

    # JAX constructs a pytree anew with whatever it has at hand, such as gradients or tracers.
    _checked: bool = flax.struct.field(pytree_node=False, default=False, repr=False, kw_only=True)

    def __post_init__(self):
        if not self._checked:
            self._set(_checked=True)  # first, since what checks may construct it anew
            self._check()

    def _check(self) -> None:
        """Raise a UserError where a field has a wrong value, and fill in what follows from it."""

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # frozen, but still being made

    def forward(self, x: Array) -> Any:
        """Return Φx of real images (N, H, W, C): leading N, otherwise any shape, or a tree of it.

        Raises:
          UserError: the operator does not take such images.
        """
        raise NotImplementedError

    def adjoint(self, r: Any, at: Array | None = None) -> Array:
        """Return Φᴴr, (N, H, W, C): Re⟨Φx, r⟩ = ⟨x, Φᴴr⟩ for every real x.

        Args:
          r: of the shape of a measurement.
          at: has no part, since Φ is linear.
        """
        like = jax.ShapeDtypeStruct(self.image_shape(r), real_dtype(r))
        return real_adjoint(self.forward, like, r)

    def start(self, y: Any) -> Array:
        """Return x₀ = Φᴴy / ‖Φ‖², (N, H, W, C); zeros where Φ is zero."""
        back = self.adjoint(y)
        squared = jnp.asarray(self.squared_norm(), back.dtype)
        return back / jnp.where(squared > 0, squared, 1)

    def squared_norm(self) -> Array | float:
        """Return ‖Φ‖², or an upper bound: a scalar or, for each image, (N, 1, 1, 1)."""
        raise NotImplementedError

    def measurement(self, shape: tuple[int, ...]) -> Any:
        """Return shape and type of what Φ makes of float32 images (N, H, W, C)."""
        return jax.eval_shape(self.forward, jax.ShapeDtypeStruct(tuple(shape), jnp.float32))

    def image_shape(self, y: Any) -> tuple[int, int, int, int]:
        """Return the shape (N, H, W, C) of the images that have measurements like y.

        Args:
          y: arrays, or their shapes and types.

        Raises:
          UserError: y is no measurement of this operator, by its shape or because one of the two
            is complex.
        """
        try:
            shape = self._image_shape(y)
            expected = self.measurement(shape)
        except (TypeError, IndexError, AttributeError, ValueError) as error:
            why = f": {error}" if isinstance(error, UserError) else ""
            raise UserError(f"{self._name} gives no measurement {described(y)}{why}") from error
        if signature(y) != signature(expected):
            raise UserError(
                f"{self._name} gives no measurement {described(y)}; of images {shape} it gives"
                f" {described(expected)}"
            )
        return shape

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        """The images' shape if y is a measurement; `image_shape` then tries it.

        It may fail in any way that a wrong shape leads to.
        """
        return y.shape

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _images(
        self, x: Any, size: tuple[int, int] | None = None, channels: int | None = None
    ) -> None:
        """Raise a UserError unless x is a batch of real images, of this size and channels."""
        if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
            rule = "floating-point images (N, H, W, C)"
        elif size is not None and x.shape[1:3] != size:
            rule = f"images of {size[0]}×{size[1]} pixels"
        elif channels is not None and x.shape[3] != channels:
            rule = f"images of {channels} channel{'s' * (channels > 1)}"
        elif any(side % self.size_multiple or not side for side in x.shape[1:3]):
            rule = f"images whose sides are multiples of {self.size_multiple}"
        else:
            return
        raise UserError(f"{self._name} takes {rule}; got {described(x)}")

    def _batched(self, values: Array, ndim: int, x: Array) -> Array:
        """Values for every image, (N or 1, ...), in the type of x.

        Args:
          values: an array of `ndim` axes for all images, or of one more, N, for each.
        """
        values = jnp.asarray(values)
        if values.ndim == ndim:
            values = values[None]
        elif len(values) != len(x):
            raise UserError(
                f"{self._name} has values for {len(values)} images, of shape {values.shape}; got"
                f" {len(x)} images"
            )
        kind = jnp.promote_types(x.dtype, jnp.complex64) if is_complex(values) else x.dtype
        return values.astype(kind)

    def __matmul__(self, other: "KnownOperator") -> "Composition":
        return Composition(self, other) if isinstance(other, KnownOperator) else NotImplemented

    def __add__(self, other: "KnownOperator") -> "Sum":
        return Sum((self, other)) if isinstance(other, KnownOperator) else NotImplemented

    def __sub__(self, other: "KnownOperator") -> "Sum":
        return self + -1.0 * other if isinstance(other, KnownOperator) else NotImplemented

    def __mul__(self, factor: Any) -> "Scaled":
        return NotImplemented if isinstance(factor, KnownOperator) else Scaled(self, factor)

    def __rmul__(self, factor: Any) -> "Scaled":
        return self * factor

    def __neg__(self) -> "Scaled":
        return -1.0 * self


@flax.struct.dataclass
class Composition(KnownOperator):
    """Φ = A B: first B, from images to images, then A.

    ‖A‖² ‖B‖² bounds ‖Φ‖² from above. It can be far too large, as for a mask and a blur;
    `with_norm` replaces it by a measured norm.

    Attributes:
      outer, inner: A and B. Sides are multiples of the product of their multiples, which is
        enough and may be more than is needed.
    """

    outer: KnownOperator
    inner: KnownOperator

    @property
    def zero_extends(self) -> bool:
        # What B puts beside the picture, as a blur does, A must not bring back into it.
        local = self.outer.pointwise or self.inner.pointwise
        return local and self.outer.zero_extends and self.inner.zero_extends

    @property
    def pointwise(self) -> bool:
        return self.outer.pointwise and self.inner.pointwise

    @property
    def size_multiple(self) -> int:
        return self.outer.size_multiple * self.inner.size_multiple

    def forward(self, x: Array) -> Any:
        self._images(x)
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, r: Any, at: Array | None = None) -> Array:
        return self.inner.adjoint(self.outer.adjoint(r))

    def squared_norm(self) -> Array | float:
        return self.outer.squared_norm() * self.inner.squared_norm()

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        between = self.outer.image_shape(y)
        return self.inner.image_shape(jax.ShapeDtypeStruct(between, real_dtype(y)))


@flax.struct.dataclass
class Several(KnownOperator):
    """What sums and stacks have in common: operators of the same images.

    Attributes:
      operators: at least one.
    """

    operators: tuple[KnownOperator, ...]

    def _check(self) -> None:
        if not self.operators:
            raise UserError(f"{self._name} has no operators; it needs at least one")
        self._set(operators=tuple(self.operators))

    @property
    def zero_extends(self) -> bool:
        return all(each.zero_extends for each in self.operators)

    @property
    def pointwise(self) -> bool:
        return all(each.pointwise for each in self.operators)

    @property
    def size_multiple(self) -> int:
        return int(np.lcm.reduce([each.size_multiple for each in self.operators]))


@flax.struct.dataclass
class Sum(Several):
    """Φ = A + B + …, of operators whose measurements have the same shape.

    (‖A‖ + ‖B‖ + …)² bounds ‖Φ‖² from above; `with_norm` replaces it by a measured norm.
    """

    def forward(self, x: Array) -> Any:
        self._images(x)
        parts = [each.forward(x) for each in self.operators]
        for part in parts[1:]:
            if signature(part) != signature(parts[0]):
                raise UserError(
                    f"Sum needs measurements of one shape; of images {x.shape} its operators give"
                    f" {described(parts[0])} and {described(part)}"
                )
        return functools.reduce(lambda a, b: jax.tree.map(arithmetic.add, a, b), parts)

    def adjoint(self, r: Any, at: Array | None = None) -> Array:
        return functools.reduce(jnp.add, [each.adjoint(r) for each in self.operators])

    def squared_norm(self) -> Array | float:
        norms = [jnp.sqrt(each.squared_norm()) for each in self.operators]
        return jnp.square(functools.reduce(jnp.add, norms))

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        return self.operators[0].image_shape(y)


@flax.struct.dataclass
class Stack(Several):
    """Φx = (Ax, Bx, …): one image measured by several operators.

    A measurement is a tuple with the measurement of each, in their order. ‖A‖² + ‖B‖² + … bounds
    ‖Φ‖² from above; `with_norm` replaces it by a measured norm.
    """

    def forward(self, x: Array) -> tuple[Any, ...]:
        self._images(x)
        return tuple(each.forward(x) for each in self.operators)

    def adjoint(self, r: Any, at: Array | None = None) -> Array:
        parts = [each.adjoint(part) for each, part in zip(self.operators, r, strict=True)]
        return functools.reduce(jnp.add, parts)

    def squared_norm(self) -> Array | float:
        return functools.reduce(jnp.add, [each.squared_norm() for each in self.operators])

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        return self.operators[0].image_shape(y[0])


@flax.struct.dataclass
class Wrapped(KnownOperator):
    """What operators that hold another one have in common.

    Attributes:
      operator: Φ.
    """

    operator: KnownOperator

    @property
    def zero_extends(self) -> bool:
        return self.operator.zero_extends

    @property
    def pointwise(self) -> bool:
        return self.operator.pointwise

    @property
    def size_multiple(self) -> int:
        return self.operator.size_multiple

    def forward(self, x: Array) -> Any:
        return self.operator.forward(x)

    def adjoint(self, r: Any, at: Array | None = None) -> Array:
        return self.operator.adjoint(r)

    def _image_shape(self, y: Any) -> tuple[int, int, int, int]:
        return self.operator.image_shape(y)


@flax.struct.dataclass
class Scaled(Wrapped):
    """a Φ, with the norm a² ‖Φ‖².

    Attributes:
      factor: a, a real number.
    """

    factor: Any

    def _check(self) -> None:
        self._set(factor=leaf("factor", self.factor, (0,)))

    def forward(self, x: Array) -> Any:
        return self._scale(self.operator.forward(x))

    def adjoint(self, r: Any, at: Array | None = None) -> Array:
        return self._scale(self.operator.adjoint(r))

    def squared_norm(self) -> Array | float:
        return jnp.square(self.factor) * self.operator.squared_norm()

    def _scale(self, values: Any) -> Any:
        return jax.tree.map(lambda part: part * self.factor.astype(part.dtype), values)


@flax.struct.dataclass
class WithNorm(Wrapped):
    """An operator with its ‖Φ‖² given.

    Attributes:
      norm: ‖Φ‖², a scalar or (N, 1, 1, 1).
    """

    norm: Any

    def _check(self) -> None:
        self._set(norm=leaf("norm", self.norm, (0, 4)))

    def squared_norm(self) -> Array | float:
        return self.norm


def with_norm(operator: KnownOperator, shape: tuple[int, ...], tolerance: float = 1e-2) -> WithNorm:
    """Return an operator with ‖Φ‖² measured once by bidiagonalisation; not for use under `jit`.

    The norm is from above, by a factor (1 + `tolerance`)² at most. It belongs to the operator's
    arrays as they are and to images of this size; larger ones may have a slightly larger norm.

    Args:
      shape: of the images, (N, H, W, C). N is 1, or the batch's for an operator that has arrays
        for each image; then there is a norm for each.

    Raises:
      UserError: the operator does not take such images, or its products are not finite.
    """
    operator.measurement(shape)
    return WithNorm(operator, measured(operator, shape, tolerance))


def measured(operator: KnownOperator, shape: tuple[int, ...], tolerance: float = 1e-2) -> Array:
    """Return ‖Φ‖² as `with_norm` measures it."""
    return measured_norm(Partial(_forward, operator), tuple(shape), tolerance=tolerance)


def _forward(operator: KnownOperator, x: Array) -> Any:
    return operator.forward(x)


def unmeasured(operator: KnownOperator) -> UserError:
    """What `squared_norm` raises of an operator that was made while JAX was tracing."""
    return UserError(
        f"‖Φ‖² of a {type(operator).__name__} cannot be measured while JAX is tracing; make it"
        " outside, or give it its norm"
    )
