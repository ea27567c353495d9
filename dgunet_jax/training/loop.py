"""The training loop."""

import contextlib
import sys
import time
from pathlib import Path

import jax
import numpy as np

from dgunet_jax import checkpoints
from dgunet_jax.data.pipeline import training_batches, whole_pictures
from dgunet_jax.data.sources import photographs
from dgunet_jax.errors import UserError
from dgunet_jax.models.network import DGUNet
from dgunet_jax.training import validation
from dgunet_jax.training.config import TrainConfig
from dgunet_jax.training.saving import RunCheckpoints
from dgunet_jax.training.step import (
    AXIS,
    Metrics,
    TrainState,
    init_state,
    make_mesh,
    make_optimizer,
    make_train_step,
)


def train(config: TrainConfig, workdir: Path) -> validation.Scores:
    """Trains a network, or goes on with one whose checkpoints are in `workdir`.

    Writes checkpoints while it runs, and at the end `model.safetensors`, `comparison.png` and
    `stages.png`.

    Returns:
      The final scores on the held-out pictures.

    Raises:
      UserError: settings that do not fit each other or this machine; a place that cannot be
        written; a loss that is not finite.
    """
    mesh = make_mesh()
    if config.pipeline.batch % mesh.size:
        raise UserError(
            f"batch is {config.pipeline.batch}; it must be a multiple of the {mesh.size} devices"
        )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{workdir}: cannot be made: {error.strerror}") from error
    source = photographs(config.pictures.train)
    held_out = photographs(config.pictures.held_out)
    pairs = list(whole_pictures(held_out, config.pipeline.sigma, seed=0))

    model, optimizer = DGUNet(config.model), make_optimizer(config.optimizer)
    _say(f"{mesh.size} device(s), {config.optimizer.steps} steps; compiling …")
    state = init_state(model, optimizer, mesh, config.optimizer.seed)
    _say(f"{sum(leaf.size for leaf in jax.tree.leaves(state.params)):,} parameters")
    saved = RunCheckpoints(workdir, config.model)
    if (restored := saved.restore_newest(state)) is not None:
        state = restored
        _say(f"going on from step {int(state.step)}")

    batches = training_batches(
        source,
        config.pipeline,
        start_step=int(state.step),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    step_fn = make_train_step(model, optimizer, config.optimizer.loss, mesh)
    progress = _Progress(int(state.step), config.optimizer.steps)

    def evaluate() -> validation.Scores:
        scores = validation.validate(model, state.params, pairs)
        if not np.isfinite(scores.restored):
            raise UserError(f"step {step}: the estimates of the held-out pictures are not finite")
        _say(f"step {step}: held out {scores.restored:.2f} dB, noisy {scores.noisy:.2f} dB")
        return scores

    step = int(state.step)
    scores = evaluate()
    previous: Metrics | None = None
    with contextlib.closing(saved):
        while step < config.optimizer.steps:
            batch = jax.tree.map(
                lambda part: jax.make_array_from_process_local_data(sharding, part), next(batches)
            )
            state, metrics = step_fn(state, batch)
            step += 1
            # The step before has ended by now: reading its metrics keeps no device waiting.
            if previous is not None:
                _check(previous, step - 1)
            previous = metrics
            last = step == config.optimizer.steps
            if step % config.report.progress_every == 0 or last:
                progress.show(step, metrics)
            if step % config.report.evaluate_every == 0 or last:
                _check(metrics, step)
                scores = evaluate()
            if step % config.report.save_every == 0 or last:
                _check(metrics, step)
                saved.save(state, scores.restored)

    _finish(model, state, pairs, workdir)
    return scores


def _finish(model: DGUNet, state: TrainState, pairs, workdir: Path) -> None:
    final = workdir / "model.safetensors"
    checkpoints.save(final, model, {"params": jax.tree.map(np.asarray, state.params)})
    for path in [final, *validation.show(model, state.params, pairs, workdir)]:
        _say(f"wrote {path}")


def _check(metrics: Metrics, step: int) -> None:
    if not np.isfinite(metrics.gradient_norm) or not np.isfinite(metrics.losses).all():
        raise UserError(f"step {step}: the loss or its gradient is not finite")


class _Progress:
    """One line every so often: step, loss, rate and time left."""

    def __init__(self, first: int, steps: int):
        self._first, self._steps = first, steps
        self._started: float | None = None

    def show(self, step: int, metrics: Metrics) -> None:
        loss = float(np.sum(metrics.losses))
        line = f"step {step}/{self._steps}  loss {loss:.4f}"
        # The rate is that of the steps after the first line, so that compiling does not count.
        if self._started is None:
            self._started, self._first = time.monotonic(), step
        else:
            seconds = (time.monotonic() - self._started) / (step - self._first)
            left = round(seconds * (self._steps - step))
            line += f"  {1 / seconds:.1f} steps/s  {left // 60}:{left % 60:02d} left"
        _say(line)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
