"""Computing again in the backward pass instead of keeping."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, linear_call


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, of which nothing but its arguments is kept for the backward pass.

    Unlike `jax.checkpoint`, it is computed again only when its cotangents are there. XLA's CPU
    backend, which drops optimization barriers, otherwise does it earlier, and keeps the results
    while it works on what comes after `function`. First derivatives in both modes; forward over
    reverse is not possible.

    Args:
      function: of floating-point arrays and trees of such; the first argument, an array, goes into
        all that needs much memory. It must not close over values of a transformation. The first
        leaf of its result is not empty.
    """

    @jax.custom_jvp
    def run(*arguments):
        return function(*arguments)

    def rule(arguments, tangents):
        leaves, tree = jax.tree.flatten(arguments)
        directions = jax.tree.leaves(tangents, is_leaf=_is_zero)
        moving = [i for i, direction in enumerate(directions) if not _is_zero(direction)]

        def of_moving(leaves):
            """`function` of the leaves that are differentiated, and what these are."""

            def moved(*chosen):
                replaced = dict(zip(moving, chosen, strict=True))
                return function(*tree.unflatten(replaced.get(i, a) for i, a in enumerate(leaves)))

            return moved, [leaves[i] for i in moving]

        def forward(leaves, directions):
            moved, chosen = of_moving(leaves)
            return jax.jvp(moved, chosen, directions)[1]

        def backward(leaves, cotangents):
            some = jax.tree.leaves(cotangents)[0].ravel()[0]
            # No compiler knows that it is finite; if it is not, neither is the gradient.
            first = jnp.where(jnp.isfinite(some), leaves[0], jnp.nan)
            moved, chosen = of_moving([first, *leaves[1:]])
            return list(jax.vjp(moved, *chosen)[1](cotangents))

        chosen = [directions[i] for i in moving]
        return function(*arguments), linear_call(forward, backward, leaves, chosen)

    run.defjvp(rule, symbolic_zeros=True)
    return run


def _is_zero(direction):
    return isinstance(direction, SymbolicZero)
