"""Reverse mode through a network, stage by stage."""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.models.unfold import Trace, Unfolded, UnfoldedStage
from dgunet_jax.system.compilation import highest

Array = jax.Array


@flax.struct.dataclass
class Sweep:
    """Derivatives of L = Σ_k ⟨c_k, x_k⟩, the images c_k held.

    Attributes:
      inputs: ∂L/∂inputs, of the inputs' shape.
      estimates: ∂L/∂x_k of every stage, through all later ones too, each (N, H, W, C).
      weights: ∂L/∂(weights of stage k), as if each use of shared weights had its own; () if they
        were not asked for.
    """

    inputs: Array
    estimates: tuple[Array, ...]
    weights: tuple[Any, ...]


@highest
def sweep(
    unfolded: Unfolded,
    inputs: Array,
    trace: Trace,
    cotangents: Sequence[Array | None],
    weights: bool = False,
) -> Sweep:
    """Derivatives at what a network computed, by VJPs of single stages.

    Each stage is computed once more, so that only one at a time keeps its features; all middle
    stages run the same compiled program.

    Args:
      unfolded: the network.
      inputs: what it was given.
      trace: what `dgunet_jax.trace` says it computed.
      cotangents: c_k for every stage, or for the first ones; None stands for zero.
      weights: whether to differentiate by the weights too.
    """
    states = [(trace.start, None), *((each.x, each.memory) for each in trace.stages)]
    own = [*cotangents, *[None] * (len(unfolded.stages) - len(cotangents))]
    depth = max((k for k, c in enumerate(own, 1) if c is not None), default=0)
    zero = jnp.zeros_like(trace.start)
    # Stages after the last one asked for have no part in L.
    estimates: list[Array] = [zero] * len(own)
    of_weights: list[Any] = [
        jax.tree.map(jnp.zeros_like, stage.params) if weights else None for stage in unfolded.stages
    ]
    of_x, of_memory = zero, jax.tree.map(jnp.zeros_like, states[depth][1])
    of_y = jnp.zeros_like(trace.y)
    for k in reversed(range(depth)):
        c = own[k]
        of_x = of_x if c is None else of_x + c
        estimates[k] = of_x
        x, memory = states[k]
        of_weights[k], of_x, of_memory, more = _pull(
            unfolded.stages[k], x, memory, trace.y, (of_x, of_memory), weights
        )
        of_y = of_y + more
    _, pull = jax.vjp(unfolded.start, inputs)
    (of_inputs,) = pull((of_x, of_y))
    return Sweep(of_inputs, tuple(estimates), tuple(of_weights) if weights else ())


def _pull_back(
    stage: UnfoldedStage, x: Array, memory: Any, y: Array, cotangents: Any, weights: bool
) -> tuple[Any, Array, Any, Array]:
    def run(stage: UnfoldedStage, x: Array, memory: Any, y: Array) -> Any:
        return stage.proximal(stage.gradient(x, y), memory, y)

    if weights:
        of_stage, *rest = jax.vjp(run, stage, x, memory, y)[1](cotangents)
        return of_stage.params, *rest
    _, pull = jax.vjp(lambda *images: run(stage, *images), x, memory, y)
    return None, *pull(cotangents)


_pull = jax.jit(_pull_back, static_argnames="weights")
