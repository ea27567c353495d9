"""Operators of any class in programs that are compiled."""

from typing import Any

import jax

from dgunet_jax.operators.gradient import Operator, zero_extends

Array = jax.Array


@jax.tree_util.register_static
class Constant:
    """An operator that is part of the program: its arrays are constants there.

    Equal to another of the same object.
    """

    def __init__(self, operator: Operator):
        self._operator = operator

    def forward(self, x: Array) -> Array:
        return self._operator.forward(x)

    def adjoint(self, r: Array, at: Array) -> Array:
        return self._operator.adjoint(r, at=at)

    def start(self, y: Array) -> Array:
        return self._operator.start(y)

    @property
    def zero_extends(self) -> bool:
        return zero_extends(self._operator)

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
