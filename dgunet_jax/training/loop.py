"""The training loop."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax import checkpoints
from dgunet_jax.about import About
from dgunet_jax.data.pipeline import batch_names
from dgunet_jax.models.work import count
from dgunet_jax.system import hosts, provenance, runs, terminal
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import locked
from dgunet_jax.training import guard, validation
from dgunet_jax.training.config import TrainConfig
from dgunet_jax.training.guard import Stop, stop_signals
from dgunet_jax.training.log import (
    EVENTS,
    METRICS,
    Profiler,
    Progress,
    Recorder,
    Throughput,
    scalars_of,
)
from dgunet_jax.training.preparing import Prepared, open_held_out
from dgunet_jax.training.saving import RunCheckpoints
from dgunet_jax.training.step import Metrics, make_train_step

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


def train(config: TrainConfig, workdir: Path, *, restart: bool = False) -> Ended:
    """Train a network, or go on with one whose checkpoints are in `workdir`.

    Writes checkpoints, metrics (JSON lines and TensorBoard events) and `run.json` while it runs,
    and at the end `model.safetensors`, `comparison.png` and `stages.png`. SIGTERM, SIGHUP and
    SIGINT write a checkpoint and end it. Processes that have joined (`hosts.join`) train together;
    they share `workdir`, and the first one writes.

    Args:
      config: the settings.
      workdir: where everything is written.
      restart: begin at step 0 even if there are checkpoints; they, the metrics and the events are
        moved aside, as checkpoints.1, metrics.jsonl.1 and tensorboard.1.

    Raises:
      UserError: settings that do not fit each other or this machine; pictures that cannot be read;
        a place that cannot be written or is in use; checkpoints that cannot be gone on from; a run
        that has died (`guard.DeadRun`).
      hosts.PeerLost: another process is gone.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(hosts.lost_peers())
        processes_here = hosts.processes_here()
        with hosts.all_or_none():
            if hosts.is_first():
                stack.enter_context(locked(workdir))
            prepared = Prepared.of(config, workdir, restart=restart, processes_here=processes_here)
            for held_out in prepared.held_out.values():
                stack.callback(held_out.close)
            if restart and hosts.is_first():
                _move_aside(workdir)
        run = _Run(prepared, workdir, stack.enter_context(stop_signals()), stack)
        with hosts.lost_peers():  # before checkpoints are waited for
            return run.finish()


_FREE = (
    "data.train",
    "data.validation",
    "data.workers",
    "data.cache_bytes",
    "data.pairs",
    "data.check",
    "data.skip_bad",
    "optimizer.accumulate",
    "optimizer.precision",
    "optimizer.deterministic",
)


class _Run:
    """A run from its beginning, or its newest checkpoint, to its end."""

    def __init__(self, prepared: Prepared, workdir: Path, stop: Stop, stack: contextlib.ExitStack):
        config, schedule, mesh = prepared.config, prepared.schedule, prepared.mesh
        self._config, self._prepared, self._workdir, self._stop = config, prepared, workdir, stop
        self._progress = Progress(
            schedule.steps, config.report.progress_every, silent=not hosts.is_first()
        )
        say = self._progress.say
        say(f"{mesh.size} device(s), {schedule.steps} steps, {schedule.steps_per_epoch:g} an epoch")
        say("compiling …")
        self._state = prepared.first_state()
        settings = _settings(config, sum(map(len, prepared.sources)))
        self._saved = stack.enter_context(
            RunCheckpoints(workdir, config.model, settings, _about(config))
        )
        if (restored := self._saved.restore_newest(self._state)) is not None:
            self._state = restored
            say(f"going on from step {int(restored.step)}")
        self._step = int(self._state.step)
        self._saved_step = self._step if self._step else -1
        self._scores: validation.Scores | None = None  # of the weights as they are now
        self._recorder: Recorder | None = None
        if hosts.is_first():
            self._recorder = stack.enter_context(Recorder(workdir, self._step))
            provenance.record(workdir, config)
        self._profiler = stack.enter_context(Profiler(workdir, config.report))
        self._batches = prepared.batches(self._step)
        self._step_fn = make_train_step(
            prepared.model, prepared.optimizer, schedule.rate, config.optimizer, mesh
        )
        self._throughput = Throughput(config.data.batch)

    def finish(self) -> Ended:
        """Train until the end or until asked to stop."""
        try:
            stopped = self._train()
        except guard.DeadRun:
            raise
        except (UserError, OSError) as error:
            if jax.process_count() == 1:  # all would have to be here
                self._rescue(error)
            raise
        if stopped and self._step < self._prepared.schedule.steps:
            self._save()
            self._progress.say(f"stopped at step {self._step}; the same command goes on from there")
            return Ended(self._step, None, self._stop.signal)
        # It may have been complete before.
        scores = self._scores or self._evaluate(self._state.weights)
        for path in self._write_results(scores):
            self._progress.say(f"wrote {path}")
        return Ended(self._step, scores)

    def _train(self) -> bool:
        """Steps until the end; True if asked to stop."""
        report, stopped = self._config.report, False
        waiting: Metrics | None = None  # of the step before, which is read while this one runs
        # A copy: the first step, which does not wait for held-out pictures, reuses the memory.
        first = jax.tree.map(jnp.copy, self._state.weights) if self._step == 0 else None
        while self._step < self._prepared.schedule.steps and not stopped:
            self._profiler.before(self._step)
            batch = self._throughput.next(self._batches)
            if report.throughput and self._throughput.gflop is None:
                self._throughput.gflop = self._gflop(batch)
            self._state, metrics = self._step_fn(self._state, batch)
            if first is not None:
                self._evaluate(first)
                first = None
            self._step, self._scores = self._step + 1, None
            if waiting is not None:
                self._look(waiting, self._step - 1)
            waiting = metrics
            stopped = self._stop.asked(self._step)
            last = self._step == self._prepared.schedule.steps
            due = {
                name: last or self._step % every == 0
                for name, every in (
                    ("evaluate", report.evaluate_every),
                    ("pictures", report.pictures_every),
                    ("save", report.save_every),
                )
            }
            if any(due.values()) or stopped:
                self._look(waiting, self._step)
                waiting = None
            begin = time.monotonic()
            if due["evaluate"]:
                self._scores = self._evaluate(self._state.weights)
            if due["pictures"]:
                self._draw()
            if due["save"]:
                self._save()
            self._throughput.pause(time.monotonic() - begin)
        return stopped

    def _gflop(self, batch: Any) -> float:
        """Of a step, on all devices; its program is traced once, for this and for running it."""
        step: Any = self._step_fn
        program = step.trace(self._state, batch)
        return count(program.jaxpr.jaxpr) * self._prepared.mesh.size / 1e9

    def _look(self, metrics: Metrics, step: int) -> None:
        guard.check(self._config.guard, metrics, step, self._names)
        throughput = self._throughput.scalars() if self._config.report.throughput else {}
        self._progress.show(step, metrics, throughput)
        if self._recorder is not None and step % self._config.report.progress_every == 0:
            self._recorder.write(step, scalars_of(metrics) | throughput)

    def _names(self, step: int) -> Sequence[str]:
        """Of the files in the batch of a step, counted from 1."""
        return batch_names(self._prepared.sources, self._config.data, step - 1)

    def _evaluate(self, weights: Any) -> validation.Scores:
        weights = hosts.local(weights)
        scores = validation.validate_each(self._prepared.model, weights, self._prepared.held_out)
        self._progress.say(
            f"step {self._step}: held out {scores.restored:.2f} dB, input {scores.noisy:.2f} dB"
        )
        for name, each in scores.sources.items():
            self._progress.say(f"{name}: {each.restored:.2f} dB, input {each.noisy:.2f} dB")
        if self._recorder is not None:
            self._recorder.write(self._step, _held_out(scores))
        return scores

    def _draw(self) -> None:
        if self._recorder is not None:
            weights = hosts.local(self._state.weights)
            shown = validation.strip(self._prepared.model, weights, self._prepared.held_out)
            self._recorder.draw(self._step, "stages", shown)

    def _save(self) -> None:
        if self._saved_step != self._step:
            if self._recorder is not None:
                self._recorder.flush()
            self._saved.save(self._state, self._scores.restored if self._scores else None)
            self._saved_step = self._step

    def _rescue(self, error: Exception) -> None:
        """Save what has been learned until an error, which is told later."""
        try:
            self._save()
        except UserError as another:
            if str(another) != str(error):
                self._progress.say(f"step {self._step} is not saved: {another}")

    def _write_results(self, scores: validation.Scores) -> list[Path]:
        if not hosts.is_first():
            return []
        model, weights = self._prepared.model, hosts.local(self._state.weights)
        final = self._workdir / "model.safetensors"
        about = dataclasses.replace(
            _about(self._config),
            steps=self._step,
            scores={f"held out {n}".strip(): (s.noisy, s.restored) for n, s in scores.each.items()},
        )
        checkpoints.save(final, model, {"params": jax.tree.map(np.asarray, weights)}, about)
        held_out = self._prepared.held_out
        return [final, *validation.show(model, weights, held_out, self._workdir, _SHOWN)]


def _move_aside(workdir: Path) -> None:
    """Rename what a run would go on with, so that it begins at step 0."""
    names = [runs.RUN_FOLDER, METRICS, EVENTS]
    free = (
        i for i in itertools.count(1) if not any((workdir / f"{n}.{i}").exists() for n in names)
    )
    number = next(free)
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (workdir / name).rename(workdir / f"{name}.{number}")
            terminal.say(f"{workdir / name}: is {name}.{number} now")


def evaluate(config: TrainConfig, workdir: Path) -> validation.Scores:
    """Score the best checkpoint of a run on the held-out pictures.

    Raises:
      UserError: there is none, or the pictures cannot be read.
    """
    model, variables = checkpoints.load(workdir)
    with contextlib.ExitStack() as stack:
        held_out = open_held_out(config)
        for each in held_out.values():
            stack.callback(each.close)
        return validation.validate_each(model, variables["params"], held_out)


def _settings(config: TrainConfig, pictures: int) -> dict[str, Any]:
    """What a run must keep to go on as if nothing had happened.

    Folders may move, and a batch may be computed in other parts; but the training pictures must be
    as many.
    """
    settings = {
        f"{group}.{name}": value
        for group in ("data", "optimizer")
        for name, value in dataclasses.asdict(getattr(config, group)).items()
    }
    for name in _FREE:
        del settings[name]
    settings["data.sources"] = [
        {name: value for name, value in source.items() if f"data.{name}" not in _FREE}
        for source in settings["data.sources"]
    ]
    return settings | {"training pictures": pictures}


def _about(config: TrainConfig) -> About:
    """Return what checkpoints of a run say of it."""
    each = [data for _, data in config.data.each]

    def of_all(values: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(values))

    return About(
        degradation=of_all(data.degradation or "pairs" for data in each),
        data=of_all(data.train.rstrip("/").rpartition("/")[2] for data in each),
        patch=config.data.patch,
    )


def _held_out(scores: validation.Scores) -> dict[str, float]:
    written = {}
    for name, each in scores.each.items():
        group = f"held_out_{name}" if name else "held_out"
        written[f"{group}/input"] = each.noisy
        written |= {f"{group}/stage_{k}": psnr for k, psnr in enumerate(each.stages, 1)}
    return written
