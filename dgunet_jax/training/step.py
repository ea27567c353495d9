"""The training state and one step of it, sharded over the batch."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dgunet_jax.models.network import DGUNet
from dgunet_jax.training import losses
from dgunet_jax.training.config import OptimizerConfig

Array = jax.Array
Batch = dict[str, Array]

AXIS = "data"


@flax.struct.dataclass
class TrainState:
    """What a run carries from step to step.

    Attributes:
      step: steps done, a scalar.
      params: the network's weights.
      opt_state: the optimizer's.
    """

    step: Array
    params: Any
    opt_state: Any


@flax.struct.dataclass
class Metrics:
    """What a step measured.

    Attributes:
      losses: of every stage, (K,); the loss is their sum.
      gradient_norm: L2 norm of the gradient of all weights.
    """

    losses: Array
    gradient_norm: Array


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam (0.9, 0.999, 1e-8) on the schedule of `config`."""
    return optax.adam(make_schedule(config), b1=0.9, b2=0.999, eps=1e-8)


def make_schedule(config: OptimizerConfig) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_steps else config.peak_learning_rate,
        peak_value=config.peak_learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=config.steps,
        end_value=config.final_learning_rate,
    )


def make_mesh() -> Mesh:
    """All devices along the batch."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def init_state(
    model: DGUNet, optimizer: optax.GradientTransformation, mesh: Mesh, seed: int
) -> TrainState:
    """The state before the first step, on every device."""
    config = model.config

    def init(key):
        images = jnp.zeros((1, config.multiple, config.multiple, config.channels))
        params = model.init(key, images)["params"]
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(init, out_shardings=replicated)(jax.random.key(seed))


def make_train_step(
    model: DGUNet, optimizer: optax.GradientTransformation, loss: str, mesh: Mesh
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """One step as a compiled function of (state, batch); the state's memory is reused.

    Every device computes the gradient of its share of the batch; one all-reduce averages gradients
    and metrics. The batch size must be a multiple of the number of devices.
    """

    def share(params, batch):
        def total(params):
            restored: Any = model.apply({"params": params}, batch["input"])
            stage_losses = losses.stage_losses(loss, restored.stages, batch["target"])
            return jnp.sum(stage_losses), stage_losses

        gradient, stage_losses = jax.grad(total, has_aux=True)(params)
        return jax.lax.pmean((gradient, stage_losses), AXIS)

    # Replication is not tracked: it would insert an all-reduce for every use of a weight.
    averaged = jax.shard_map(
        share,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(),
        check_vma=False,
    )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradient, stage_losses = averaged(state.params, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = Metrics(stage_losses, optax.tree.norm(gradient))
        return TrainState(state.step + 1, params, opt_state), metrics

    return jax.jit(step, donate_argnums=0)
