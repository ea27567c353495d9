"""A window of steps that JAX's profiler records."""

from pathlib import Path
from typing import Self

import jax

from dgunet_jax.training.config import ReportConfig

_FOLDER = "tensorboard"  # where TensorBoard looks for it


class Profiler:
    """Records the steps from `profile_from` on, `profile_steps` of them, if that is given.

    The profile is written to `workdir/tensorboard/plugins/profile/`.
    """

    def __init__(self, workdir: Path, config: ReportConfig):
        self._folder, self._running = workdir / _FOLDER, False
        first = config.profile_from
        self._window = range(0) if first is None else range(first, first + config.profile_steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def before(self, step: int) -> None:
        """Called before the step that follows `step` others."""
        if step in self._window and not self._running:
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif step not in self._window:
            self._end()

    def _end(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
