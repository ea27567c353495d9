"""What can be seen of a run: lines, scalars and pictures."""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.errors import UserError, reason
from dgunet_jax.files import replacing
from dgunet_jax.restoration.progress import clock
from dgunet_jax.training.step import Metrics

_SCALARS = "metrics.jsonl"
_EVENTS = "tensorboard"


def scalars_of(metrics: Metrics) -> dict[str, float]:
    """A step's metrics by name, stages counted from 1."""
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

    A run that goes on from a step drops what was written after it, so every step is there once.

    Args:
      workdir: the run's.
      step: the step the run begins with.
    """

    def __init__(self, workdir: Path, step: int):
        from tensorboardX import SummaryWriter

        self._path = workdir / _SCALARS
        _forget(self._path, step)
        try:
            self._lines = self._path.open("a")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {reason(error)}") from error
        self._events = SummaryWriter(str(workdir / _EVENTS), purge_step=step + 1, flush_secs=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._events.close()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        # JSON has no infinities; null says that there is no number.
        finite = {name: value if np.isfinite(value) else None for name, value in scalars.items()}
        try:
            self._lines.write(json.dumps({"step": step, **finite}) + "\n")
            self._lines.flush()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {reason(error)}") from error
        for name, value in scalars.items():
            if np.isfinite(value):
                self._events.add_scalar(name, value, step)

    def draw(self, step: int, name: str, image: NDArray[np.floating]) -> None:
        """An image (H, W, 3), clamped to [0, 1]; NaN is black."""
        shown = np.nan_to_num(image).clip(0, 1)
        self._events.add_image(name, shown, step, dataformats="HWC")


def _forget(path: Path, step: int) -> None:
    """Drops the lines after a step, and a last one that was cut off."""
    try:
        content = path.read_text().splitlines() if path.exists() else []
        with replacing(path) as file:
            for line in _until(content, step):
                file.write(f"{line}\n".encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _until(lines: Iterable[str], step: int) -> Iterable[str]:
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError, TypeError):
            continue


class Progress:
    """Where a run is: a line that is renewed on a terminal, a line every so often elsewhere.

    Args:
      steps: of the whole run.
      every: steps between lines.
      silent: say nothing, as one of several processes does.
    """

    def __init__(self, steps: int, every: int, silent: bool = False):
        self._steps, self._every, self._silent = steps, every, silent
        self._terminal = sys.stderr.isatty()
        self._open = False  # whether there is a line to be renewed
        self._began: tuple[float, int] | None = None

    def show(self, step: int, metrics: Metrics) -> None:
        """Called with the metrics of every step, after it has ended."""
        # The rate is that of the steps after the first, so that compiling does not count.
        if self._began is None:
            self._began = time.monotonic(), step
        if self._silent or (not self._terminal and step % self._every and step != self._steps):
            return
        line = f"step {step}/{self._steps}  loss {float(metrics.loss):.4f}"
        line += f"  {float(metrics.psnr[-1]):.2f} dB (input {float(metrics.input_psnr):.2f})"
        since, begin = self._began
        if step > begin:
            seconds = (time.monotonic() - since) / (step - begin)
            line += f"  {1 / seconds:.2f} steps/s  {clock(seconds * (self._steps - step))} left"
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(line, file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        if self._silent:
            return
        if self._open:
            print(file=sys.stderr)
            self._open = False
        print(line, file=sys.stderr, flush=True)
