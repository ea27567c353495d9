"""What a run reports: progress, metrics, throughput and profiles."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import replacing
from dgunet_jax.system.storage import Growing, RemotePath, as_path, is_remote
from dgunet_jax.training.config import ReportConfig
from dgunet_jax.training.step import Metrics

METRICS = "metrics.jsonl"
EVENTS = "tensorboard"
_FLUSH_EVERY = 30  # seconds


def scalars_of(metrics: Metrics) -> dict[str, float]:
    """Return a step's metrics by name, stages counted from 1."""
    scalars = {
        "loss": float(metrics.loss),
        "learning_rate": float(metrics.learning_rate),
        "gradient_norm": float(metrics.gradient_norm),
        "psnr/input": float(metrics.input_psnr),
        "skipped": float(metrics.skipped),
    }
    for name, values in (
        ("loss/stage", metrics.losses),
        ("psnr/stage", metrics.psnr),
        ("step_size/stage", metrics.step_sizes),
    ):
        scalars |= {f"{name}_{k}": float(value) for k, value in enumerate(values, 1)}
    return scalars


class Recorder:
    """Scalars as JSON lines, and with pictures as TensorBoard events, in a working directory.

    A run that goes on from a step drops what was written after it, so every step is there once. The
    lines are the record; where events cannot be written, the run goes on without them.

    Args:
      workdir: the run's.
      step: the step the run begins with.

    Raises:
      UserError: the lines cannot be read or written.
    """

    def __init__(self, workdir: Path, step: int):
        self._path = workdir / METRICS
        _forget(self._path, step)
        try:
            self._lines = Growing(self._path, keep=True)
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {reason(error)}") from error
        self._events = _Events(workdir / EVENTS, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._did(self._lines.close)
        self._events.close()

    def flush(self) -> None:
        """Write what is kept back for remote storage, as a checkpoint is saved.

        Raises:
          UserError: it cannot be written.
        """
        self._did(self._lines.flush)
        self._events.flush()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of a step.

        Raises:
          UserError: they cannot be written.
        """
        # JSON has no infinities; null says that there is no number.
        finite = {name: value if np.isfinite(value) else None for name, value in scalars.items()}
        line = f"{json.dumps({'step': step, **finite})}\n".encode()
        self._did(lambda: self._lines.write(line))
        self._events.write(step, {name: v for name, v in finite.items() if v is not None})

    def _did(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {reason(error)}") from error

    def draw(self, step: int, name: str, image: NDArray[np.floating]) -> None:
        """Write an image (H, W, 3), clamped to [0, 1]; NaN is black."""
        self._events.draw(step, name, np.nan_to_num(image).clip(0, 1))


class _Events:
    """A file of TensorBoard events, written by the caller's thread.

    tensorboardX's own writer has a thread that a full disk ends, and then waits for it for ever.
    """

    def __init__(self, folder: Path, step: int):
        from tensorboardX.record_writer import RecordWriter, register_writer_factory

        self._folder, self._file = folder.absolute(), None
        self._flushed = time.monotonic()
        name = f"events.out.tfevents.{time.time():.0f}.{os.uname().nodename}.{os.getpid()}"
        try:
            self._folder.mkdir(exist_ok=True)
            if isinstance(self._folder, RemotePath):
                register_writer_factory(self._folder.protocol, _Remote())
            self._file = RecordWriter(str(self._folder / name))
        except OSError as error:
            self._give_up(error)
        self._add(file_version="brain.Event:2")
        # What other files hold of later steps does not count.
        self._add(step=step + 1, session_log={"status": "START"})

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        from tensorboardX.summary import scalar

        for name, value in scalars.items():
            self._add(step=step, summary=scalar(name, value))

    def draw(self, step: int, name: str, image: NDArray[np.floating]) -> None:
        from tensorboardX.summary import image as drawn

        self._add(step=step, summary=drawn(name, image, dataformats="HWC"))

    def flush(self) -> None:
        try:
            if self._file is not None:
                self._file.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            self._give_up(error)

    def _add(self, **event: Any) -> None:
        from tensorboardX.proto import event_pb2

        if self._file is None:
            return
        messages: Any = event_pb2  # whose classes are made when it is imported
        content = messages.Event(wall_time=time.time(), **event).SerializeToString()
        try:
            self._file.write(content)
        except OSError as error:
            self._give_up(error)
        if time.monotonic() - self._flushed > _FLUSH_EVERY:
            self.flush()

    def _give_up(self, error: OSError) -> None:
        terminal.say(
            f"{self._folder}: cannot be written: {reason(error)}; the run goes on without"
            " TensorBoard's events"
        )
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None


class _Remote:
    """What opens a file of events on remote storage for tensorboardX."""

    def open(self, path: str) -> Growing:
        return Growing(as_path(path))


def _forget(path: Path, step: int) -> None:
    """Drop the lines after a step, and a last one that was cut off."""
    try:
        content = path.read_bytes().splitlines() if path.exists() else []
        with replacing(path) as file:
            for line in _until(content, step):
                file.write(line + b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _until(lines: Iterable[bytes], step: int) -> Iterable[bytes]:
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError, TypeError):
            continue


class Throughput:
    """How fast a run goes, and how long its devices wait for data; from the second step on.

    Args:
      images: of a step, over all processes.

    Attributes:
      gflop: of a step, over all devices; None: not known.
    """

    def __init__(self, images: int):
        self._images = images
        self.gflop: float | None = None
        self._calls = 0
        self._paused = 0.0  # since the last call
        self._seconds = self._waited = 0.0  # until the last call, from the second one on
        self._last = self._last_wait = 0.0

    def next(self, batches: Iterator[Any]) -> Any:
        """Return the next batch; to be called once a step."""
        begin = time.monotonic()
        if self._calls > 1:  # compiling and the first batch do not count
            self._seconds += begin - self._last - self._paused
            self._waited += self._last_wait
        batch = next(batches)
        self._calls, self._paused = self._calls + 1, 0.0
        self._last, self._last_wait = begin, time.monotonic() - begin
        return batch

    def pause(self, seconds: float) -> None:
        """Leave out what validating, drawing or saving took."""
        self._paused += seconds

    def scalars(self) -> dict[str, float]:
        """Return images/s, TFLOP/s and the share of time in which a batch was waited for."""
        if self._seconds <= 0:
            return {}
        rate = (self._calls - 2) / self._seconds
        found = {"images_per_second": rate * self._images, "waiting": self._waited / self._seconds}
        if self.gflop is not None:
            found["tflops"] = rate * self.gflop / 1e3
        return {f"throughput/{name}": value for name, value in found.items()}


class Progress:
    """Where a run is: a line that is renewed on a terminal, a line every so often elsewhere.

    Args:
      steps: of the whole run.
      every: steps between lines.
      silent: say nothing, as one of several processes does.
    """

    def __init__(self, steps: int, every: int, silent: bool = False):
        self._steps, self._every, self._silent = steps, every, silent
        self._renews = terminal.on_screen()
        self._began: tuple[float, int] | None = None

    def show(self, step: int, metrics: Metrics, throughput: Mapping[str, float]) -> None:
        """Tell the metrics of a step; to be called after every one.

        Args:
          throughput: what `Throughput.scalars` gives, or nothing.
        """
        # The rate is that of the steps after the first, so that compiling does not count.
        if self._began is None:
            self._began = time.monotonic(), step
        if self._silent or (not self._renews and step % self._every and step != self._steps):
            return
        line = f"step {step}/{self._steps}  loss {float(metrics.loss):.4f}"
        line += f"  {float(metrics.psnr[-1]):.2f} dB (input {float(metrics.input_psnr):.2f})"
        since, begin = self._began
        if step > begin:
            seconds = (time.monotonic() - since) / (step - begin)
            line += f"  {1 / seconds:.2f} steps/s"
            if throughput:
                line += f"  {throughput['throughput/images_per_second']:.1f} images/s"
                if (rate := throughput.get("throughput/tflops")) is not None:
                    line += f"  {rate:.3g} TFLOP/s"
                line += f"  {throughput['throughput/waiting']:.0%} waiting for data"
            line += f"  {terminal.clock(seconds * (self._steps - step))} left"
        (terminal.renew if self._renews else terminal.say)(line)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if not self._silent:
            terminal.say(line)


class Profiler:
    """Record the steps from `profile_from` on, `profile_steps` of them, if that is given.

    The profile is written to `workdir/tensorboard/plugins/profile/`, where TensorBoard looks for
    it. Where that cannot be written, the run goes on without a profile.
    """

    def __init__(self, workdir: Path, config: ReportConfig):
        self._folder, self._running = workdir / EVENTS, False
        self._local = None  # where the profile of a remote run is written first
        first = config.profile_from
        self._window = range(0) if first is None else range(first, first + config.profile_steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def before(self, step: int) -> None:
        """Called before the step that follows `step` others."""
        if step in self._window and not self._running:
            self._running = self._did(self._start)
        elif step not in self._window:
            self._end()

    def _start(self) -> None:
        # What JAX cannot write at the end, it keeps.
        if is_remote(self._folder):
            self._local = tempfile.TemporaryDirectory()
        folder = Path(self._local.name) if self._local else self._folder
        (folder / "plugins" / "profile").mkdir(parents=True, exist_ok=True)
        jax.profiler.start_trace(folder)

    def _end(self) -> None:
        if self._running:
            self._running = False
            self._did(self._stop)

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        if self._local is not None:
            folder = Path(self._local.name)
            for path in (each for each in folder.rglob("*") if each.is_file()):
                (self._folder / path.relative_to(folder)).write_bytes(path.read_bytes())
            self._local.cleanup()

    def _did(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except (OSError, RuntimeError) as error:
            self._window = range(0)
            terminal.say(
                f"{self._folder}: the profile cannot be written: {reason(error)[:200]}; the run"
                " goes on without it"
            )
            return False
        return True
