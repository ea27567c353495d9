"""Precision of matrix products and convolutions, which accelerators round unless told otherwise.

On a GPU the default for float32 is TF32 (10 bits of mantissa), on a TPU bfloat16 (7 bits). On a
CPU there is one precision.
"""

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import jax

Precision = Literal["highest", "default"]

P = ParamSpec("P")
Result = TypeVar("Result")


def highest(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return the function with all products that it traces or runs in full float32."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return run
