"""The training state and one step of it, sharded over the batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dgunet_jax.data.measurements import simulate
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.metrics import psnr_jax
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import init_params
from dgunet_jax.models.unfold import stage_params
from dgunet_jax.operators.library import SamplingMatrix
from dgunet_jax.training import losses
from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.losses import LossStages

Array = jax.Array
Batch = dict[str, Any]

AXIS = "data"
COLLAPSED_DB = 3.0  # a run is dead whose result is so much worse than its input, for long,
VANISHED_GRADIENT = 1e-10  # or whose gradient is smaller than this


@flax.struct.dataclass
class TrainState:
    """What a run carries from step to step.

    Attributes:
      step: steps done, a scalar, like all counts here.
      params: the network's weights.
      opt_state: the optimizer's.
      average: exponential moving average of the weights; None if none is kept.
      skipped: steps whose update was left out, since loss or gradient were not finite.
      skipped_in_row: how many of them were the last ones.
      best_gain: the largest PSNR of a step's result less that of its input, dB, mean over the
        images of which both are finite; −∞ at first.
      collapsed_in_row: how many of the last steps were those of a dead run.
    """

    step: Array
    params: Any
    opt_state: Any
    average: Any
    skipped: Array
    skipped_in_row: Array
    best_gain: Array
    collapsed_in_row: Array

    @property
    def weights(self) -> Any:
        """Those to restore with."""
        return self.params if self.average is None else self.average


@flax.struct.dataclass
class Metrics:
    """What a step measured, before its update.

    Attributes:
      losses: of every stage, (K,).
      psnr: of every stage's clamped estimate in dB, mean over the batch, (K,).
      input_psnr: of the clamped inputs.
      gradient_norm: L2 norm of the gradient of all weights, before clipping.
      learning_rate: of the update.
      step_sizes: ρ of every stage, (K,); empty where there is no gradient step.
      finite_stages: whether every stage's estimates were finite, (K,).
      skipped, skipped_in_row, collapsed_in_row: as in the state after the step.
      loss_stages: whose losses are minimised, as the settings say.
    """

    losses: Array
    psnr: Array
    input_psnr: Array
    gradient_norm: Array
    learning_rate: Array
    step_sizes: Array
    finite_stages: Array
    skipped: Array
    skipped_in_row: Array
    collapsed_in_row: Array
    loss_stages: LossStages = flax.struct.field(pytree_node=False, default="all")

    @property
    def loss(self) -> Array:
        """What is minimised, a scalar."""
        return losses.total(self.losses, self.loss_stages)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam (0.9, 0.999, 1e-8) without the learning rate.

    L2 weight decay enters the gradient, as in PyTorch's Adam.
    """
    parts = []
    if config.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay))
    return optax.chain(*parts, optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8))


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """These devices along the batch; None: all there are."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def divided(mesh: Mesh) -> NamedSharding:
    """Each device its share of the batch."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def init_state(
    model: DGUNet, optimizer: optax.GradientTransformation, mesh: Mesh, config: OptimizerConfig
) -> TrainState:
    """The state before the first step, on every device."""

    def init(key):
        return state_of(init_params(model.config, key), optimizer, config)

    return jax.jit(init, out_shardings=replicated(mesh))(jax.random.key(config.seed))


def state_of(
    params: Any, optimizer: optax.GradientTransformation, config: OptimizerConfig
) -> TrainState:
    """The state before the first step, with these weights."""

    def zero():
        return jnp.zeros((), jnp.int32)

    average = None if config.average is None else jax.tree.map(jnp.copy, params)
    return TrainState(
        step=zero(),
        params=params,
        opt_state=optimizer.init(params),
        average=average,
        skipped=zero(),
        skipped_in_row=zero(),
        best_gain=jnp.asarray(-jnp.inf, jnp.float32),
        collapsed_in_row=zero(),
    )


def make_train_step(
    model: DGUNet,
    optimizer: optax.GradientTransformation,
    rate: optax.Schedule,
    config: OptimizerConfig,
    mesh: Mesh,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """One step as a compiled function of (state, batch); the state's memory is reused.

    Every device computes the gradient of its share of the batch, `accumulate` parts of it one after
    the other; one all-reduce averages gradients and metrics. The batch must be a multiple of
    devices times parts; it may be of 8 bits, see `Batch`.
    """
    model = model.clone(config=model.config.on(mesh.devices.flat[0].platform))

    def learned(tree):
        """Zeros where nothing is learned."""
        if config.learn_matrix or not model.config.measurements:
            return tree
        return {**tree, "sampling_matrix": jnp.zeros_like(tree["sampling_matrix"])}

    def gradient_of(params, batch):
        network, inputs, told, first, target = inputs_of(model, params, batch)

        def total(params):
            restored: Any = network.apply({"params": params}, inputs, **told)
            stage_losses = losses.stage_losses(config.loss, restored.stages, target)
            loss = losses.total(stage_losses, config.loss_stages)
            return loss, (stage_losses, restored.stages)

        gradient, (stage_losses, stages) = jax.grad(total, has_aux=True)(params)
        gradient = learned(gradient)
        psnr = jax.vmap(_psnr, (0, None))(stages, target)
        input_psnr = _psnr(first, target)
        # That of an input which is its target is infinite, and there is nothing to gain.
        gains = psnr[-1] - input_psnr
        known = jnp.isfinite(gains)
        measured = {
            "losses": stage_losses,
            "psnr": psnr.mean(axis=1),
            "input_psnr": input_psnr.mean(),
            # Sum and number of those that are known, both averaged over devices and parts.
            "gain": jnp.where(known, gains, 0).sum(),
            "gains": known.sum().astype(gains.dtype),
            # A fraction of the devices, and of the parts, whose estimates are finite.
            "finite": jnp.isfinite(stages).all(axis=(1, 2, 3, 4)).astype(jnp.float32),
        }
        return gradient, measured

    def share(params, batch):
        if config.accumulate == 1:
            return jax.lax.pmean(gradient_of(params, batch), AXIS)
        parts = jax.tree.map(lambda x: x.reshape(config.accumulate, -1, *x.shape[1:]), batch)
        first = jax.eval_shape(gradient_of, params, jax.tree.map(lambda x: x[0], parts))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)

        def add(sums, part):
            return jax.tree.map(jnp.add, sums, gradient_of(params, part)), None

        sums, _ = jax.lax.scan(add, zeros, parts)
        return jax.lax.pmean(jax.tree.map(lambda x: x / config.accumulate, sums), AXIS)

    # Replication is not tracked: it would insert an all-reduce for every use of a weight.
    averaged = jax.shard_map(
        share,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(),
        check_vma=False,
    )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        with jax.default_matmul_precision(config.precision):
            gradient, measured = averaged(state.params, batch)
        norm = optax.tree.norm(gradient)
        finite_stages = measured["finite"] == 1
        finite = jnp.isfinite(norm) & finite_stages.all() & jnp.isfinite(measured["losses"]).all()
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        # Of the step, not of the updates made: skipped ones do not delay the schedule.
        learning_rate = jnp.asarray(rate(state.step), float)
        updates = jax.tree.map(lambda update: -learning_rate * update, learned(updates))
        params = optax.apply_updates(state.params, updates)
        params, opt_state = (
            jax.tree.map(lambda new, old: jnp.where(finite, new, old), *pair)
            for pair in ((params, state.params), (opt_state, state.opt_state))
        )
        average = state.average
        if config.average is not None:
            # A mean over all steps at first, so that the first weights do not stay in it.
            decay = jnp.minimum(config.average, (1.0 + state.step) / (10.0 + state.step))
            average = jax.tree.map(
                lambda a, p: (decay * a + (1 - decay) * p).astype(a.dtype), average, params
            )
        gain = (measured["gain"] / measured["gains"]).astype(jnp.float32)  # NaN if none is known
        # A run with nearly clean inputs begins far below them; it is alive while it gets better.
        lost = (gain < -COLLAPSED_DB) & (gain <= state.best_gain)
        collapsed = lost | (norm < VANISHED_GRADIENT)
        after = TrainState(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            average=average,
            skipped=state.skipped + jnp.where(finite, 0, 1),
            skipped_in_row=jnp.where(finite, 0, state.skipped_in_row + 1),
            best_gain=jnp.fmax(state.best_gain, gain),
            collapsed_in_row=jnp.where(
                collapsed,
                state.collapsed_in_row + 1,
                # A step that tells nothing does not end the row either.
                jnp.where(jnp.isfinite(gain), 0, state.collapsed_in_row),
            ),
        )
        metrics = Metrics(
            losses=measured["losses"],
            psnr=measured["psnr"],
            input_psnr=measured["input_psnr"],
            gradient_norm=norm,
            learning_rate=learning_rate,
            step_sizes=_step_sizes(model.config, state.params),
            finite_stages=finite_stages,
            skipped=after.skipped,
            skipped_in_row=after.skipped_in_row,
            collapsed_in_row=after.collapsed_in_row,
            loss_stages=config.loss_stages,
        )
        return after, metrics

    options: Any = {"xla_gpu_deterministic_ops": True} if config.deterministic else None
    return jax.jit(step, donate_argnums=0, compiler_options=options)


class Inputs(NamedTuple):
    """What a network is called with, and what its result is compared with.

    Attributes:
      network: with the operator of the batch, where that is known.
      inputs: degraded images, or measurements.
      told: arguments of the call by name: the noise, where the network takes it.
      first: the images it begins with, (N, H, W, C).
      target: clean images, (N, H, W, C).
    """

    network: DGUNet
    inputs: Any
    told: dict[str, Any]
    first: Array
    target: Array


def inputs_of(model: DGUNet, params: Any, batch: Any) -> Inputs:
    """Return what a network is called with for a batch.

    Where the degradation is known, the batch has the operator, and the inputs are what it measures
    of the targets (`measurements.simulate`). For compressive sensing, whose x₀ is not a picture,
    as the matrix may have any scale, `first` is Φᵀ(ΦΦᵀ)⁻¹Φx.
    """
    target = unit_range(batch["target"])
    if "operator" not in batch:
        images = unit_range(batch["input"])
        first = images
        if model.config.measurements:
            sampling = SamplingMatrix(params["sampling_matrix"])
            first = sampling.least_norm(sampling.forward(images))
        return Inputs(model, images, {}, first, target)
    operator = batch["operator"]
    y = simulate(operator, target, batch["sigma"], batch["seed"])
    told = {"noise": batch["sigma"] / 255} if model.config.noise_input else {}
    network = model.clone(operator=operator)
    started: Any = network.apply({"params": params}, y, **told, method="start")
    return Inputs(network, y, told, started[0], target)


def _psnr(images: Array, targets: Array) -> Array:
    """Of each image, clamped."""
    return psnr_jax(jnp.clip(images, 0, 1), targets)


def _step_sizes(config: DGUNetConfig, params: Any) -> Array:
    """Return ρ of every stage, (K,), or (0,) where there are no gradient steps."""
    stages = stage_params(params, config)
    return jnp.array([stage["step_size"] for stage in stages if "step_size" in stage])
