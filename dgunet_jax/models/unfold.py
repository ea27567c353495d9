"""The network taken apart: every stage as a pair of pure functions."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.layers import Memory
from dgunet_jax.models.network import DGUNet, Shared, Stage
from dgunet_jax.operators.base import Operator, as_pytree

Array = jax.Array


@flax.struct.dataclass
class UnfoldedStage:
    """One stage with its weights: a pytree whose methods are pure functions of images.

    Attributes:
      params: the stage's own weights.
      shared: what all stages use.
      module: the stage's definition.
    """

    params: Any
    shared: Shared
    module: Stage = flax.struct.field(pytree_node=False)

    @property
    def operator(self) -> Operator:
        """Φ and Φᵀ: `forward(x)`, `adjoint(r, at=x)`, `start(y)`."""
        return self._apply("operator")

    @property
    def step_size(self) -> Array | float:
        """ρ, a scalar; 0 where there is no gradient step.

        Where the stages have a `divisor`, such as ‖Φ‖² of a known operator, it is divided by that,
        and may be (N, 1, 1, 1).
        """
        step_size, divisor = self.params.get("step_size", 0.0), self.shared.divisor
        return step_size if divisor is None else step_size / divisor

    def gradient(self, x: Array, y: Array) -> Array:
        """v = x − ρ Φᵀ(Φ(x) − y), or with Φ(v) where steps are implicit, (N, H, W, C)."""
        return self._apply("gradient", x, y)

    def proximal(self, v: Array, memory: Memory | None, y: Array) -> tuple[Array, Memory | None]:
        """(x, memory) from v and the previous stage's memory.

        The memory is None into the first stage and out of the last. y is what the last stage of a
        DGUNet adds its correction to; other stages do not look at it.
        """
        return self._apply("proximal", v, memory, y)

    def _apply(self, method: str, *arguments) -> Any:
        return self.module.apply({"params": self.params}, *arguments, self.shared, method=method)


@flax.struct.dataclass
class Unfolded:
    """A network as a list of stages, first first.

    Attributes:
      stages: K of them.
      params: the whole network's weights.
      operator: the network's own, or None.
      config: the network's.
    """

    stages: tuple[UnfoldedStage, ...]
    params: Any
    operator: Any
    config: DGUNetConfig = flax.struct.field(pytree_node=False)

    @property
    def model(self) -> DGUNet:
        """The network."""
        return DGUNet(self.config, self.operator)

    def start(self, inputs: Array) -> tuple[Array, Array]:
        """(x₀, y) from the network's inputs; y the measurement where the degradation is known."""
        noise = self.stages[0].shared.noise
        started: Any = self.model.apply(
            {"params": self.params}, inputs, noise=noise, method="start"
        )
        return started[0], started[1]


@flax.struct.dataclass
class StageTrace:
    """What one stage computed.

    Attributes:
      residual: Φ_k(x_{k−1}) − y, of the measurement's shape.
      v: the gradient step's image, (N, H, W, C).
      x: the estimate, (N, H, W, C).
      memory: what it handed on; None from the last stage.
    """

    residual: Array
    v: Array
    x: Array
    memory: Memory | None


@flax.struct.dataclass
class Trace:
    """What a network computed on its way.

    Attributes:
      start: x₀, (N, H, W, C).
      y: the measurement.
      stages: one for each stage, first first.
    """

    start: Array
    y: Array
    stages: tuple[StageTrace, ...]


def stage_params(params: Mapping[str, Any], config: DGUNetConfig) -> list[Any]:
    """Return every stage's weights, first stage first; shared ones as often as they are used.

    Args:
      params: the network's weights, or a tree of that structure, such as their gradient.
    """
    number, middle = config.num_middle, params.get("middle")
    if config.share_middle:
        stages = [middle] * number
    else:
        leaves, tree = jax.tree.flatten(middle)
        stages = [tree.unflatten([leaf[i] for leaf in leaves]) for i in range(number)]
    return [params["first"], *stages, params["last"]]


def unfold(model: DGUNet, variables: Mapping[str, Any], noise: Any = None) -> Unfolded:
    """Return the stages of a network as pure functions of its weights.

    `x, y = unfolded.start(inputs)`, then for every stage `v = stage.gradient(x, y)` and
    `x, memory = stage.proximal(v, memory, y)`, with None as the first memory: the last x is
    `model.apply(variables, inputs).image`.

    Middle stages with shared weights appear as many times as they are iterated.

    Args:
      model, variables: the network.
      noise: σ of the measurements, for a network that is told it; see `DGUNet`.
    """
    params, config = variables["params"], model.config
    shared: Any = model.apply({"params": params}, None, noise, method="shared")

    def stage(position, params):
        return UnfoldedStage(params=params, shared=shared, module=Stage(config, position))

    positions = ["first", *["middle"] * config.num_middle, "last"]
    return Unfolded(
        stages=tuple(map(stage, positions, stage_params(params, config))),
        params=params,
        operator=as_pytree(model.operator),
        config=config,
    )


def trace(unfolded: Unfolded, inputs: Array) -> Trace:
    """Runs a network stage by stage and keeps residuals, gradient steps, estimates and memories.

    All middle stages run the same compiled program.
    """
    start, y = unfolded.start(inputs)
    x, memory, stages = start, None, []
    for stage in unfolded.stages:
        traced = _run_stage(stage, x, memory, y)
        x, memory = traced.x, traced.memory
        stages.append(traced)
    return Trace(start=start, y=y, stages=tuple(stages))


def trace_stage(stage: UnfoldedStage, x: Array, memory: Memory | None, y: Array) -> StageTrace:
    """Runs a stage on the estimate and memory of the one before it and keeps what it computes."""
    residual = jax.tree.map(jnp.subtract, stage.operator.forward(x), y)
    v = stage.gradient(x, y)
    x, memory = stage.proximal(v, memory, y)
    return StageTrace(residual=residual, v=v, x=x, memory=memory)


_run_stage = jax.jit(trace_stage)
