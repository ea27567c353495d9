"""How much work a program is."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def count(jaxpr: Jaxpr) -> int:
    """Floating-point operations, two for each multiplication with its addition.

    Every tap of a convolution counts, those on the zero padding too; zeros put between pixels (the
    gradient of a stride) do not. Element-wise work and factorisations are left out.

    Raises:
      ValueError: a `while` loop, whose length is not in the program.
    """
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        return 2 * _convolution(equation)
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(left[i] for i in contracted)
    if name == "while":
        raise ValueError("the program has a while loop; its length is not known")
    if name == "cond":
        return max(count(branch.jaxpr) for branch in params["branches"])
    if name == "custom_linear_solve":  # the other programs it holds are for its derivatives
        return count(params["jaxprs"].solve.jaxpr)
    repeats = params["length"] if name == "scan" else 1
    return repeats * sum(count(inner) for inner in _programs(params))


def _convolution(equation: JaxprEqn) -> int:
    """Products: outputs × taps × input channels of a group, without those on inserted zeros."""
    kernel = _shape(equation.invars[1])
    spec = equation.params["dimension_numbers"].rhs_spec
    per_output = math.prod(kernel[axis] for axis in spec[1:])  # spec[0] is the output channels
    products = math.prod(_shape(equation.outvars[0])) * per_output
    return products // math.prod(equation.params["lhs_dilation"])


def _shape(variable: Any) -> tuple[int, ...]:
    """Shape of a variable of a program; its declared type does not promise one."""
    return variable.aval.shape


def _programs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)):
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value
