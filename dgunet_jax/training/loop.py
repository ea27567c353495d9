"""The training loop."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dgunet_jax import checkpoints
from dgunet_jax.data.epochs import samples_per_epoch
from dgunet_jax.data.pipeline import Pair, batch_names, training_batches, validation_pairs
from dgunet_jax.data.sources import Source, open_source
from dgunet_jax.errors import UserError
from dgunet_jax.models.network import DGUNet
from dgunet_jax.training import guard, provenance, validation
from dgunet_jax.training.config import TrainConfig
from dgunet_jax.training.lock import locked
from dgunet_jax.training.saving import RunCheckpoints
from dgunet_jax.training.schedule import resolve
from dgunet_jax.training.step import (
    AXIS,
    Metrics,
    TrainState,
    init_state,
    make_mesh,
    make_optimizer,
    make_train_step,
    state_of,
)
from dgunet_jax.training.stopping import stop_signals
from dgunet_jax.training.watch import Progress, Recorder, scalars_of

_SHOWN = 2  # held-out pictures in the final comparison


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
      step: steps done.
      scores: on the held-out pictures; None if it was stopped.
      signal: that stopped it; None if it is complete.
    """

    step: int
    scores: validation.Scores | None
    signal: int | None = None


def train(config: TrainConfig, workdir: Path) -> Ended:
    """Trains a network, or goes on with one whose checkpoints are in `workdir`.

    Writes checkpoints, metrics (JSON lines and TensorBoard events) and `run.json` while it runs,
    and at the end `model.safetensors`, `comparison.png` and `stages.png`. SIGTERM and SIGINT write
    a checkpoint and end it.

    Raises:
      UserError: settings that do not fit each other or this machine; pictures that cannot be read;
        a place that cannot be written or is in use; a run that has died (`guard.DeadRun`).
    """
    mesh = make_mesh()
    check_batch(config, mesh.size)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(workdir))
        stop = stack.enter_context(stop_signals())
        pairs_in_folders = config.data.sigma is None
        source = open_source(
            config.data.train, pairs=pairs_in_folders, cache_bytes=config.data.cache_bytes
        )
        pairs = _held_out_pairs(config)
        samples = samples_per_epoch(len(source), config.data)
        schedule = resolve(config.optimizer, samples, config.data.batch)
        model, optimizer = DGUNet(config.model), make_optimizer(config.optimizer)
        progress = Progress(schedule.steps, config.report.progress_every)
        say = progress.say
        say(f"{mesh.size} device(s), {schedule.steps} steps, {schedule.steps_per_epoch:g} an epoch")
        say("compiling …")
        state = _first_state(config, model, optimizer, mesh)
        saved = RunCheckpoints(workdir, config.model, _settings(config))
        stack.callback(saved.close)
        if (restored := saved.restore_newest(state)) is not None:
            state = restored
            say(f"going on from step {int(state.step)}")
        step = int(state.step)
        recorder = stack.enter_context(Recorder(workdir, step))
        provenance.record(workdir, config)
        step_fn = make_train_step(model, optimizer, schedule.rate, config.optimizer, mesh)
        batches = _on_devices(config, source, step, mesh)
        scores: validation.Scores | None = None
        saved_step = step if step else -1

        def evaluate() -> validation.Scores:
            scores = validation.validate(model, state.weights, pairs)
            say(f"step {step}: held out {scores.restored:.2f} dB, input {scores.noisy:.2f} dB")
            recorder.write(step, _held_out(scores))
            return scores

        def save() -> None:
            nonlocal saved_step
            if saved_step != step:
                saved.save(state, scores.restored if scores is not None else None)
                saved_step = step

        def look(metrics: Metrics, step: int) -> None:
            guard.check(config.guard, metrics, step, names)
            progress.show(step, metrics)
            if step % config.report.progress_every == 0:
                recorder.write(step, scalars_of(metrics))

        def names(step: int) -> Sequence[str]:
            return batch_names(source, config.data, step - 1)

        waiting: Metrics | None = None  # of the step before, which is read while this one runs
        try:
            if step == 0:
                scores = evaluate()
            while step < schedule.steps and not stop:
                state, metrics = step_fn(state, next(batches))
                step, scores = step + 1, None
                if waiting is not None:
                    look(waiting, step - 1)
                waiting = metrics
                last = step == schedule.steps
                due = {
                    name: last or step % getattr(config.report, f"{name}_every") == 0
                    for name in ("evaluate", "pictures", "save")
                }
                if any(due.values()) or stop:
                    look(waiting, step)
                    waiting = None
                if due["evaluate"]:
                    scores = evaluate()
                if due["pictures"]:
                    shown = validation.strip(model, state.weights, pairs[0])
                    recorder.draw(step, "stages", shown)
                if due["save"] or stop:
                    save()
        except guard.DeadRun:
            raise
        except UserError:
            save()  # what has been learned until now
            raise
        if step < schedule.steps:
            save()
            say(f"stopped at step {step}; the same command goes on from there")
            return Ended(step, None, stop.signal)
        if scores is None:  # it was complete before
            scores = evaluate()
        for path in _finish(model, state, pairs[:_SHOWN], workdir):
            say(f"wrote {path}")
    return Ended(step, scores)


def evaluate(config: TrainConfig, workdir: Path) -> validation.Scores:
    """Scores the best checkpoint of a run on the held-out pictures.

    Raises:
      UserError: there is none, or the pictures cannot be read.
    """
    model, variables = checkpoints.load(workdir)
    return validation.validate(model, variables["params"], _held_out_pairs(config))


def check_batch(config: TrainConfig, devices: int) -> None:
    """Raises a UserError unless the batch can be divided; it says what to change."""
    batch, parts = config.data.batch, config.optimizer.accumulate
    if batch % (devices * parts):
        fits = max(1, batch // (devices * parts)) * devices * parts
        raise UserError(
            f"batch is {batch}; it must be a multiple of {devices * parts} ({devices} devices times"
            f" accumulate {parts}): {fits}, or change accumulate or the devices"
        )


def _held_out_pairs(config: TrainConfig) -> list[Pair]:
    pairs = config.data.sigma is None
    # Read once and kept as they are, so that a cache would hold them twice.
    source = open_source(config.data.validation, pairs=pairs, cache_bytes=0)
    return list(validation_pairs(source, config.data))


def _settings(config: TrainConfig) -> dict[str, Any]:
    """What a run must keep to go on as if nothing had happened; folders may move."""
    settings = {
        f"{group}.{name}": value
        for group in ("data", "optimizer")
        for name, value in dataclasses.asdict(getattr(config, group)).items()
    }
    for name in ("data.train", "data.validation", "data.workers", "data.cache_bytes"):
        del settings[name]
    return settings


def _first_state(
    config: TrainConfig, model: DGUNet, optimizer: Any, mesh: jax.sharding.Mesh
) -> TrainState:
    if config.init_from is None:
        return init_state(model, optimizer, mesh, config.optimizer)
    found, variables = checkpoints.load(Path(config.init_from))
    given = dataclasses.replace(
        found.config,
        num_stages=config.model.num_stages
        if found.config.share_middle
        else found.config.num_stages,
        **{name: getattr(config.model, name) for name in ("dtype", "unroll", "remat")},
    )
    if given != config.model:
        raise UserError(
            f"{config.init_from}: is another network than the config's model;"
            f" it is {checkpoints.config_to_json(found.config)}"
        )
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    params = jax.device_put(variables["params"], replicated)
    first = jax.jit(
        lambda params: state_of(params, optimizer, config.optimizer), out_shardings=replicated
    )
    return first(params)


def _on_devices(
    config: TrainConfig, source: Source, step: int, mesh: jax.sharding.Mesh
) -> Iterator[dict[str, jax.Array]]:
    """The batches from a step on, divided among the devices."""
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    batches = training_batches(
        source,
        config.data,
        start_step=step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    for batch in batches:
        yield {
            name: jax.make_array_from_process_local_data(sharding, part)
            for name, part in batch.items()
        }


def _held_out(scores: validation.Scores) -> dict[str, float]:
    stages = {f"held_out/stage_{k}": psnr for k, psnr in enumerate(scores.stages, 1)}
    return {"held_out/input": scores.noisy} | stages


def _finish(model: DGUNet, state: TrainState, pairs: Sequence[Pair], workdir: Path) -> list[Path]:
    final = workdir / "model.safetensors"
    checkpoints.save(final, model, {"params": jax.tree.map(np.asarray, state.weights)})
    return [final, *validation.show(model, state.weights, pairs, workdir)]
