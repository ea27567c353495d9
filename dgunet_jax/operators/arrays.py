"""The arrays of operators and of measurements: what they may be, and how messages tell it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dgunet_jax.system.errors import UserError

Array = jax.Array


def leaf(
    name: str, value: Any, ranks: tuple[int, ...], shape: str = "", real: bool = True
) -> Array:
    """Return a field's value as an array of floating point or complex numbers.

    Args:
      name: of the field.
      value: any real or complex array; its values are looked at if it is concrete.
      ranks: the numbers of axes that it may have.
      shape: says so in words.
      real: complex numbers are refused.

    Raises:
      UserError: another number of axes, an empty array, or values that are not finite or not
        numbers.
    """
    known = concrete(value)
    array: Any = value if known is None else known
    if array.ndim not in ranks or 0 in array.shape:
        rule = shape or " or ".join(f"{rank} axes" if rank else "a number" for rank in ranks)
        raise UserError(f"{name} has the shape {array.shape}; it must be {rule}")
    if known is not None:
        if known.dtype.kind not in ("biuf" if real else "biufc"):
            rule = "real numbers" if real else "numbers"
            raise UserError(f"{name} has the type {known.dtype}; it must be an array of {rule}")
        if count := np.count_nonzero(~np.isfinite(known)):
            first = known[~np.isfinite(known)][0]
            raise UserError(f"{name} has {count} values that are not finite, such as {first}")
    array = jnp.asarray(value)  # and not what was looked at, which is on the host
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.float32)


def concrete(value: Any) -> Any:
    """Return an array's values, or None where they are traced or on another host."""
    if isinstance(value, Tracer | jax.ShapeDtypeStruct):
        return None
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return None
    found = np.asarray(value)
    # NumPy does not count JAX's own narrow types, such as bfloat16, among the numbers.
    return found.astype(np.float32) if jnp.issubdtype(found.dtype, jnp.bfloat16) else found


def tracing() -> bool:
    """Return whether JAX is tracing, so that nothing has values."""
    return isinstance(jnp.zeros(()), Tracer)


def real_dtype(y: Any) -> Any:
    """Return the type of the images that have measurements of this type."""
    kinds = [each.dtype for each in jax.tree.leaves(y)]
    if not kinds or not all(jnp.issubdtype(kind, jnp.inexact) for kind in kinds):
        raise UserError(f"measurements are of floating-point or complex type; got {described(y)}")
    return jnp.finfo(jnp.result_type(*kinds)).dtype


def described(y: Any) -> str:
    """Return the shape and type of every array, as in "(2, 37, 31, 3) float32"."""
    found = [f"{tuple(each.shape)} {each.dtype}" for each in jax.tree.leaves(y)]
    return found[0] if len(found) == 1 else f"({', '.join(found)})"


def signature(y: Any) -> Any:
    """What two measurements of one operator have in common."""
    leaves, tree = jax.tree.flatten(y)
    return tree, [(tuple(each.shape), bool(is_complex(each))) for each in leaves]


def is_complex(values: Any) -> bool:
    return bool(jnp.issubdtype(values.dtype, jnp.complexfloating))
