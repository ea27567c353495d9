"""Whole stages: progress, contraction, gradient flow, and iteration beyond the trained depth."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from dgunet_jax.analysis.spectra import (
    LargestSingularValue,
    largest_singular_value,
    norm,
    root_mean_square,
    symmetry,
)
from dgunet_jax.models.layers import Memory
from dgunet_jax.models.unfold import StageTrace, Trace, Unfolded, UnfoldedStage
from dgunet_jax.system.compilation import highest
from dgunet_jax.training.losses import LOSSES, LossStages

Array = jax.Array

LOSS = "charbonnier_edge"  # of deraining and deblurring
TOLERANCE = 3e-2  # relative, of the largest singular values
DIVERGED = 10.0  # times the size of the first estimate


@flax.struct.dataclass
class Progress:
    """Distances within a stage, each (N,): root mean squares on the scale of the images, [0, 1].

    Attributes:
      residual: ‖Φ_k(x_{k−1}) − y‖, of the measurement's values.
      change: ‖x_k − x_{k−1}‖.
      gradient_move: ‖v_k − x_{k−1}‖, the gradient step.
      proximal_move: ‖x_k − v_k‖, the proximal step.
    """

    residual: Array
    change: Array
    gradient_move: Array
    proximal_move: Array


@highest
def progress(before: Array, traced: StageTrace) -> Progress:
    """Measure a stage from what it computed; three differences of images, no run of the stage.

    Source: v = x − ρ Φᵀ(Φ(x) − y), then x = prox(v): the two steps of Mou, Wang, Zhang, CVPR 2022,
    (5) and (6). The moves need not add up to the change: they may undo each other.

    Args:
      before: x_{k−1}, (N, H, W, C).
      traced: the stage's part of what `dgunet_jax.trace` returns.
    """
    return Progress(
        residual=root_mean_square(traced.residual),
        change=root_mean_square(traced.x - before),
        gradient_move=root_mean_square(traced.v - before),
        proximal_move=root_mean_square(traced.x - traced.v),
    )


@flax.struct.dataclass
class Contraction:
    """Norms of a stage's Jacobians, and the symmetry of its proximal map's; each (N,).

    Attributes:
      image: ‖∂x_k/∂x_{k−1}‖₂ with the memory held: below 1 the stage contracts near this image.
      state: ‖∂(x_k, memory_k)/∂(x_{k−1}, memory_{k−1})‖₂; the memory is features, whose scale is
        the network's own, so compare it between stages rather than with 1.
      image_converged, state_converged: as of `LargestSingularValue`.
      symmetry_gap, lowest_quotient, negative: as of `Symmetry`, of ∂x_k/∂v_k with the memory held.
    """

    image: Array
    image_converged: Array
    state: Array
    state_converged: Array
    symmetry_gap: Array
    lowest_quotient: Array
    negative: Array


@highest
def contraction(
    stage: UnfoldedStage,
    x: Array,
    memory: Memory | None,
    y: Array,
    key: Array,
    tolerance: float = TOLERANCE,
    most: int = 40,
    probes: int = 8,
) -> Contraction:
    """Measure a stage where it was used; up to 2 · most JVPs and VJPs of it, and 2 · probes JVPs.

    Source: a map whose Jacobian has norm below 1 all over contracts, and iterating it then has one
    limit (Banach, 1922); proximal maps are gradients of convex functions (Moreau, 1965), hence the
    symmetry. At one image this refutes, and cannot prove.

    Not for use under `jit`: see `largest_singular_value`.

    Args:
      stage: as `dgunet_jax.unfold` returns it.
      x, memory: estimate, (N, H, W, C), and memory before it; None before the first stage.
      y: the measurement.
      key, tolerance, most, probes: as for `largest_singular_value` and `symmetry`.
    """
    keys = jax.random.split(key, 3)
    of_gradient, of_proximal = _linearized(stage, x, memory, y)

    def largest(key: Array, of_memory: float) -> LargestSingularValue:
        push = Partial(_of_state, of_gradient, of_proximal, jnp.asarray(of_memory, x.dtype))
        return largest_singular_value(push, (x, memory), key, tolerance, most)

    image, state = largest(keys[0], 0.0), largest(keys[1], 1.0)
    proximal = symmetry(Partial(_memory_held, of_proximal, memory), x, keys[2], probes)
    return Contraction(
        image=image.value,
        image_converged=image.converged,
        state=state.value,
        state_converged=state.converged,
        symmetry_gap=proximal.gap,
        lowest_quotient=proximal.lowest_quotient,
        negative=proximal.negative,
    )


@jax.jit
def _linearized(
    stage: UnfoldedStage, x: Array, memory: Memory | None, y: Array
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """dx ↦ dv, and (dv, dmemory) ↦ (dx, dmemory) after the stage."""
    v, of_gradient = jax.linearize(lambda x: stage.gradient(x, y), x)
    _, of_proximal = jax.linearize(lambda v, memory: stage.proximal(v, memory, y), v, memory)
    return of_gradient, of_proximal


def _of_state(of_gradient: Any, of_proximal: Any, of_memory: Array, state: Any) -> Any:
    """Multiply (dx, dmemory) by the stage's Jacobian, and both memories by 1, or by 0 to hold them.

    One program serves both.
    """

    def scaled(memory: Memory | None) -> Memory | None:
        return jax.tree.map(lambda leaf: of_memory.astype(leaf.dtype) * leaf, memory)

    after, memory = of_proximal(of_gradient(state[0]), scaled(state[1]))
    return after, scaled(memory)


def _memory_held(of_proximal: Any, memory: Memory | None, dv: Array) -> Array:
    return of_proximal(dv, jax.tree.map(jnp.zeros_like, memory))[0]


@flax.struct.dataclass
class Sweep:
    """Derivatives of L = Σ_k ⟨c_k, x_k⟩, the images c_k held.

    Attributes:
      inputs: ∂L/∂inputs, of the inputs' shape.
      estimates: ∂L/∂x_k of every stage, through all later ones too, each (N, H, W, C).
      weights: ∂L/∂(weights of stage k), as if each use of shared weights had its own; () without
        `weights`.
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
    """Return derivatives at what a network computed, by VJPs of single stages.

    Each stage is computed once more, so that only one at a time keeps its features; all middle
    stages run the same compiled program.

    Args:
      unfolded, inputs, trace: a network, its inputs, and what `dgunet_jax.trace` returns.
      cotangents: c_k for every stage, or for the first ones; None stands for zero.
      weights: differentiate by the weights too.
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
    of_y = jax.tree.map(jnp.zeros_like, trace.y)
    for k in reversed(range(depth)):
        c = own[k]
        of_x = of_x if c is None else of_x + c
        estimates[k] = of_x
        x, memory = states[k]
        of_weights[k], of_x, of_memory, more = _pull(
            unfolded.stages[k], x, memory, trace.y, (of_x, of_memory), weights
        )
        of_y = jax.tree.map(jnp.add, of_y, more)
    _, pull = jax.vjp(unfolded.start, inputs)
    (of_inputs,) = pull((of_x, of_y))
    return Sweep(of_inputs, tuple(estimates), tuple(of_weights) if weights else ())


@functools.partial(jax.jit, static_argnames="weights")
def _pull(
    stage: UnfoldedStage, x: Array, memory: Any, y: Array, cotangents: Any, weights: bool
) -> tuple[Any, Array, Any, Array]:
    def run(stage: UnfoldedStage, x: Array, memory: Any, y: Array) -> Any:
        return stage.proximal(stage.gradient(x, y), memory, y)

    if weights:
        of_stage, *rest = jax.vjp(run, stage, x, memory, y)[1](cotangents)
        return of_stage.params, *rest
    _, pull = jax.vjp(lambda *images: run(stage, *images), x, memory, y)
    return None, *pull(cotangents)


@flax.struct.dataclass
class Flow:
    """Gradients of L = Σ_k loss(x_k), over K stages, or of L = loss(x_K).

    Attributes:
      estimates: ‖∂L/∂x_k‖₂ of each image, (K, N).
      weights: ‖∂L/∂θ_k‖₂ of each stage's weights, (K,); each use of shared weights counts alone.
      cosines: between the gradients that the uses of the shared middle weights contribute, (K − 2,
        K − 2), in [−1, 1]; None if they are not shared or used once. Negative ones pull against
        each other.
    """

    estimates: Array
    weights: Array
    cosines: Array | None


@highest
def flow(
    unfolded: Unfolded,
    inputs: Array,
    trace: Trace,
    clean: Array,
    loss: str = LOSS,
    loss_stages: LossStages = "all",
) -> Flow:
    """Measure the gradients at what a network computed; one VJP of every stage.

    Shared slopes and sampling matrices, which belong to no stage, are not counted. Source:
    gradients grow or vanish through deep recursions: Pascanu, Mikolov, Bengio, ICML 2013; cosines
    of gradients of the same weights: Yu et al., NeurIPS 2020.

    Args:
      unfolded, inputs, trace: a network, its inputs, and what `dgunet_jax.trace` returns.
      clean: the targets, (N, H, W, C).
      loss: one of `training.losses.LOSSES`.
      loss_stages: "all" or "last", the stages whose losses make L.
    """
    cotangents: list[Array | None] = [
        jax.grad(LOSSES[loss])(each.x, clean) for each in trace.stages
    ]
    if loss_stages == "last":
        cotangents[:-1] = [None] * (len(cotangents) - 1)
    swept = sweep(unfolded, inputs, trace, cotangents, weights=True)
    vectors = [ravel_pytree(each)[0] for each in swept.weights]
    config = unfolded.model.config
    cosines = None
    if config.share_middle and config.num_middle > 1:
        uses = jnp.stack(vectors[1:-1])
        gram = jnp.matmul(uses, uses.T, precision="highest")
        lengths = jnp.sqrt(jnp.diagonal(gram))  # summed like the rest, so that rounding cancels
        cosines = gram / jnp.outer(lengths, lengths)
    return Flow(
        estimates=jnp.stack([norm(each) for each in swept.estimates]),
        weights=jnp.stack([jnp.linalg.norm(each) for each in vectors]),
        cosines=cosines,
    )


@flax.struct.dataclass
class Iterates:
    """The results of n = 1 … count iterations; (count, N) but for the images.

    Attributes:
      residual: ‖Φ(x_{n−1}) − y‖, of the estimate before the iteration, a root mean square.
      change: ‖x_n − x_{n−1}‖, a root mean square.
      diverged: whether x_n is not finite or, as a root mean square, ten times as large as the
        estimate before the first iteration; once true, it stays so.
      estimates: x_n, (count, N, H, W, C).
      results: what the last stage makes of x_n, the same shape: the output of a network with n
        middle stages.
    """

    residual: Array
    change: Array
    diverged: Array
    estimates: Array
    results: Array


@highest
def iterate(
    stage: UnfoldedStage,
    last: UnfoldedStage,
    x: Array,
    memory: Memory | None,
    y: Array,
    count: int = 50,
) -> Iterates:
    """Iterate a stage on its own result and memory, and end with the last stage each time.

    `count` runs of either stage, and of the shared Φ. A descent method would settle: its changes go
    to 0. Networks trained for a fixed depth need not settle. Source, for models that are trained to
    have a limit: Gilton, Ongie, Willett, IEEE TCI 2021.

    Args:
      stage, last: the shared middle stage and the last one.
      x, memory: estimate and memory after the first stage.
      y: the measurement.
      count: iterations.
    """
    size = root_mean_square(x)

    def once(state, _):
        x, memory, diverged = state
        residual = root_mean_square(jax.tree.map(jnp.subtract, stage.operator.forward(x), y))
        after, memory = stage.proximal(stage.gradient(x, y), memory, y)
        result, _ = last.proximal(last.gradient(after, y), memory, y)
        # Written so that NaN counts as too large.
        diverged = diverged | ~(root_mean_square(after) < DIVERGED * size)
        change = root_mean_square(after - x)
        return (after, memory, diverged), Iterates(residual, change, diverged, after, result)

    start = (x, memory, jnp.zeros(x.shape[0], bool))
    return jax.lax.scan(once, start, None, length=count)[1]
