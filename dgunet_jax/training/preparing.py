"""What a run needs before its first step."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from numpy.typing import NDArray

from dgunet_jax import checkpoints
from dgunet_jax.data import checking
from dgunet_jax.data.pipeline import HeldOut, samples_per_epoch, training_batches
from dgunet_jax.data.sources import Source, open_source, quarter_of_memory
from dgunet_jax.models.config import config_to_json
from dgunet_jax.models.network import DGUNet
from dgunet_jax.operators.library import BLOCK, BlockSampling
from dgunet_jax.system import hosts, runs
from dgunet_jax.system.arrays import read_array
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import user_path
from dgunet_jax.system.terminal import say
from dgunet_jax.training.config import TrainConfig
from dgunet_jax.training.schedule import Schedule, resolve
from dgunet_jax.training.step import (
    TrainState,
    divided,
    init_state,
    make_mesh,
    make_optimizer,
    replicated,
    state_of,
)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a config and its pictures come to, before anything is computed.

    Attributes:
      mesh: all devices of all processes.
      sources: of the training pictures, one for each of `data.each`.
      held_out: the pairs of validation of each, by its name.
      given: weights to begin with; None: random ones.
      matrix: a sampling matrix in place of theirs; None: theirs.
    """

    config: TrainConfig
    mesh: Mesh
    sources: list[Source]
    held_out: dict[str, HeldOut]
    schedule: Schedule
    model: DGUNet
    optimizer: optax.GradientTransformation
    given: Any
    matrix: NDArray[np.float32] | None

    @classmethod
    def of(
        cls, config: TrainConfig, workdir: Path, *, restart: bool = False, processes_here: int = 1
    ) -> Self:
        """Opens what the config names, and checks the training pictures.

        Args:
          config: of the run.
          workdir: the run's, which exists.
          restart: whether the run begins anew, whatever is in `workdir`.
          processes_here: processes of the run that share this machine's memory.

        Raises:
          UserError: settings that do not fit each other or this machine; pictures or a checkpoint
            that cannot be read.
        """
        data = config.data
        mesh = make_mesh()
        check_batch(config, mesh.size)
        room = quarter_of_memory() // processes_here
        room = (room if data.cache_bytes is None else data.cache_bytes) // len(data.each)
        found = [
            open_source(
                each.train,
                pairs=each.degradation is None,
                cache_bytes=room,
                pattern=each.pattern,
                strict=not (each.check or each.skip_bad),
            )
            for _, each in data.each
        ]
        given = None if config.init_from is None else _given(config, user_path(config.init_from))
        held_out = open_held_out(config)
        first = hosts.is_first()
        begun = not restart and bool(runs.steps_of_run(workdir / runs.RUN_FOLDER))
        sources = [
            checking.choose(
                source,
                each,
                workdir,
                begun=begun,
                write=first,
                say=say if first else lambda text: None,
                name=name,
            )
            for source, (name, each) in zip(found, data.each, strict=True)
        ]
        samples = samples_per_epoch(sum(map(len, sources)), data)
        return cls(
            config,
            mesh,
            sources,
            held_out,
            resolve(config.optimizer, samples, data.batch),
            DGUNet(config.model),
            make_optimizer(config.optimizer),
            given,
            _matrix(config),
        )

    def first_state(self) -> TrainState:
        """The state before the first step, on all devices."""
        config, everywhere = self.config.optimizer, replicated(self.mesh)
        if self.given is None:
            state = init_state(self.model, self.optimizer, self.mesh, config)
        else:
            first = jax.jit(
                lambda params: state_of(params, self.optimizer, config), out_shardings=everywhere
            )
            state = first(jax.device_put(self.given, everywhere))
        if self.matrix is None:
            return state
        matrix = jax.device_put(self.matrix, everywhere)
        params = {**state.params, "sampling_matrix": matrix}
        average = None if state.average is None else jax.tree.map(jnp.copy, params)
        return dataclasses.replace(state, params=params, average=average)

    def batches(self, step: int) -> Iterator[Any]:
        """The batches from a step on, divided among the devices."""
        sharding = divided(self.mesh)
        batches = training_batches(
            self.sources,
            self.config.data,
            start_step=step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        for batch in batches:
            yield jax.tree.map(
                lambda part: jax.make_array_from_process_local_data(sharding, part), batch
            )


def check_batch(config: TrainConfig, devices: int) -> None:
    """Raises a UserError unless the batch can be divided; it says what to change."""
    batch, parts = config.data.batch, config.optimizer.accumulate
    if batch % (devices * parts):
        fits = max(1, batch // (devices * parts)) * devices * parts
        raise UserError(
            f"batch is {batch}; it must be a multiple of {devices * parts} ({devices} devices times"
            f" accumulate {parts}): {fits}, or change accumulate or the devices"
        )


def open_held_out(config: TrainConfig) -> dict[str, HeldOut]:
    """The pairs of validation of each source, which are read in the background; to be closed."""
    # Read once and kept as they are, so that a cache would hold them twice.
    return {
        name: HeldOut(
            open_source(
                data.validation,
                pairs=data.degradation is None,
                cache_bytes=0,
                pattern=data.pattern,
            ),
            data,
        )
        for name, data in config.data.each
    }


def _matrix(config: TrainConfig) -> NDArray[np.float32] | None:
    """The sampling matrix that a config asks for, (M, 1024)."""
    rows = config.model.measurements
    if config.matrix is None:
        return None
    if config.matrix == "orthonormal":
        rng = np.random.default_rng(config.optimizer.seed)
        return np.asarray(BlockSampling.draw(rows / BLOCK**2, BLOCK, rng).matrix)
    path = user_path(config.matrix)
    matrix = read_array(path, "matrix")
    if matrix.shape != (rows, BLOCK**2) or matrix.dtype.kind == "c":
        raise UserError(
            f"{path}: is {matrix.dtype} {matrix.shape}; with model.measurements {rows} it must be"
            f" real ({rows}, {BLOCK**2})"
        )
    return matrix.astype(np.float32)


def _given(config: TrainConfig, path: Path) -> Any:
    """The weights of a checkpoint to begin with."""
    read = checkpoints.read(path)
    found = read.model
    if read.weights and hosts.is_first():
        say(f"{path}: begins with its weights {read.weights}")
    given = dataclasses.replace(
        found.config,
        num_stages=config.model.num_stages
        if found.config.share_middle
        else found.config.num_stages,
        **{name: getattr(config.model, name) for name in ("dtype", "unroll", "remat", "kernels")},
    )
    if given != config.model:
        raise UserError(
            f"{path}: is another network than the config's model;"
            f" it is {config_to_json(found.config)}"
        )
    return jax.tree.map(_in_full, read.variables["params"])


def _in_full(leaf: Any) -> NDArray[np.floating]:
    """Return weights in float32 at least: squared gradients are beyond what 16 bits hold."""
    array = np.asarray(leaf)
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
