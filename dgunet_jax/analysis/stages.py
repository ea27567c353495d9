"""What a stage does to differences, how the loss reaches it, and where iterating it leads."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.analysis.spectra import (
    LargestSingularValue,
    Symmetry,
    largest_singular_value_of,
    norm,
    root_mean_square,
    symmetry_of,
)
from dgunet_jax.models.layers import Memory
from dgunet_jax.models.unfold import Trace, Unfolded, UnfoldedStage
from dgunet_jax.system.compilation import highest
from dgunet_jax.training.losses import LOSSES, LossStages

Array = jax.Array

TOLERANCE = 3e-2  # relative, of the largest singular values


@flax.struct.dataclass
class Contraction:
    """Norms of a stage's Jacobians.

    Attributes:
      image: ‖∂x_k/∂x_{k−1}‖₂ with the memory held: below 1 the stage contracts near this picture.
      state: ‖∂(x_k, memory_k)/∂(x_{k−1}, memory_{k−1})‖₂; the memory is features, whose scale is
        the network's own, so it is to be compared between stages rather than with 1.
      proximal: of ∂x_k/∂v_k with the memory held.
    """

    image: LargestSingularValue
    state: LargestSingularValue
    proximal: Symmetry


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
    """Measures a stage where it was used; up to 2 · most JVPs and VJPs of it, and 2 · probes JVPs.

    Source: a map whose Jacobian has norm below 1 all over contracts, and iterating it then has one
    limit (Banach, 1922); proximal maps are gradients of convex functions (Moreau, 1965), hence the
    symmetry. At one picture this refutes, and cannot prove.

    Not for use under `jit`: see `largest_singular_value_of`.

    Args:
      stage: as `dgunet_jax.unfold` gives it.
      x: the estimate before it, (N, H, W, C).
      memory: the memory before it; None before the first stage.
      y: the measurement.
      key: of random directions.
      tolerance, most: of the iterations, see `largest_singular_value_of`.
      probes: see `symmetry`.
    """
    keys = jax.random.split(key, 3)
    of_gradient, of_proximal = _linearized(stage, x, memory, y)

    def largest(key: Array, of_memory: float) -> LargestSingularValue:
        push = _OfState(of_gradient, of_proximal, jnp.asarray(of_memory, x.dtype))
        return largest_singular_value_of(push, (x, memory), key, tolerance, most)

    return Contraction(
        image=largest(keys[0], 0.0),
        state=largest(keys[1], 1.0),
        proximal=symmetry_of(_OfProximal(of_proximal, memory), x, keys[2], probes),
    )


@jax.jit
def _linearized(
    stage: UnfoldedStage, x: Array, memory: Memory | None, y: Array
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """dx ↦ dv, and (dv, dmemory) ↦ (dx, dmemory) after the stage."""
    v, of_gradient = jax.linearize(lambda x: stage.gradient(x, y), x)
    _, of_proximal = jax.linearize(lambda v, memory: stage.proximal(v, memory, y), v, memory)
    return of_gradient, of_proximal


@flax.struct.dataclass
class _OfState:
    """(dx, dmemory) ↦ what becomes of them, both memories times `of_memory`: 1, or 0 to hold it.

    One program serves both.
    """

    of_gradient: Callable[..., Any]
    of_proximal: Callable[..., Any]
    of_memory: Array

    def __call__(self, state: tuple[Array, Memory | None]) -> tuple[Array, Memory | None]:
        after, memory = self.of_proximal(self.of_gradient(state[0]), self._scaled(state[1]))
        return after, self._scaled(memory)

    def _scaled(self, memory: Memory | None) -> Memory | None:
        return jax.tree.map(lambda leaf: self.of_memory.astype(leaf.dtype) * leaf, memory)


@flax.struct.dataclass
class _OfProximal:
    """dv ↦ dx with the memory held."""

    of_proximal: Callable[..., Any]
    memory: Memory | None

    def __call__(self, dv: Array) -> Array:
        return self.of_proximal(dv, jax.tree.map(jnp.zeros_like, self.memory))[0]


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


LOSS = "charbonnier_edge"  # of deraining and deblurring


@flax.struct.dataclass
class Flow:
    """Gradients of L = Σ_k loss(x_k), over K stages, or of L = loss(x_K).

    Attributes:
      estimates: ‖∂L/∂x_k‖₂ of each picture, (K, N).
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
    """Measures the gradients at what a network computed; one VJP of every stage.

    Shared slopes and sampling matrices, which belong to no stage, are not counted. Source:
    gradients grow or vanish through deep recursions: Pascanu, Mikolov, Bengio, ICML 2013; cosines
    of gradients of the same weights: Yu et al., NeurIPS 2020.

    Args:
      unfolded: the network.
      inputs: what it was given.
      trace: what it computed.
      clean: the targets, (N, H, W, C).
      loss: one of `training.losses.LOSSES`.
      loss_stages: whose losses make L, those of all or of the last.
    """
    cotangents: list[Array | None] = [_gradient(loss, each.x, clean) for each in trace.stages]
    if loss_stages == "last":
        cotangents[:-1] = [None] * (len(cotangents) - 1)
    swept = sweep(unfolded, inputs, trace, cotangents, weights=True)
    vectors = [_flat(each) for each in swept.weights]
    config = unfolded.model.config
    uses = vectors[1:-1] if config.share_middle and config.num_middle > 1 else []
    return Flow(
        estimates=jnp.stack([norm(each) for each in swept.estimates]),
        weights=jnp.stack([jnp.linalg.norm(each) for each in vectors]),
        cosines=_cosines(jnp.stack(uses)) if uses else None,
    )


def _gradient(loss: str, x: Array, clean: Array) -> Array:
    return jax.grad(lambda x: LOSSES[loss](x, clean))(x)


def _flat(tree: Any) -> Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _cosines(vectors: Array) -> Array:
    gram = jnp.matmul(vectors, vectors.T, precision="highest")
    lengths = jnp.sqrt(jnp.diagonal(gram))  # summed like the rest, so that rounding cancels
    return gram / jnp.outer(lengths, lengths)


DIVERGED = 10.0  # times the size of the first estimate


@flax.struct.dataclass
class Iterates:
    """What n = 1 … count iterations give; (count, N) but for the images.

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
    """Iterates a stage on its own result and memory, and ends with the last stage each time.

    `count` runs of either stage, and of the shared Φ. A descent method would settle: its changes go
    to 0. Networks trained for a fixed depth need not; what models that are trained to have a limit
    do beyond their depth: Gilton, Ongie, Willett, IEEE TCI 2021.

    Args:
      stage: the middle stage whose weights all share.
      last: the last stage.
      x, memory: estimate and memory after the first stage.
      y: the measurement.
      count: iterations.
    """
    size = root_mean_square(x)

    def once(state, _):
        x, memory, diverged = state
        residual = root_mean_square(stage.operator.forward(x) - y)
        after, memory = stage.proximal(stage.gradient(x, y), memory, y)
        result, _ = last.proximal(last.gradient(after, y), memory, y)
        # Written so that NaN counts as too large.
        diverged = diverged | ~(root_mean_square(after) < DIVERGED * size)
        outcome = Iterates(
            residual=residual,
            change=root_mean_square(after - x),
            diverged=diverged,
            estimates=after,
            results=result,
        )
        return (after, memory, diverged), outcome

    start = (x, memory, jnp.zeros(x.shape[0], bool))
    return jax.lax.scan(once, start, None, length=count)[1]
