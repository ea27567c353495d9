"""A window of steps that JAX's profiler records."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import jax

from dgunet_jax.system import terminal
from dgunet_jax.system.errors import reason
from dgunet_jax.training.config import ReportConfig
from dgunet_jax.training.watch import EVENTS


class Profiler:
    """Record the steps from `profile_from` on, `profile_steps` of them, if that is given.

    The profile is written to `workdir/tensorboard/plugins/profile/`, where TensorBoard looks for
    it. Where that cannot be written, the run goes on without a profile.
    """

    def __init__(self, workdir: Path, config: ReportConfig):
        self._folder, self._running = workdir / EVENTS, False
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
        (self._folder / "plugins" / "profile").mkdir(parents=True, exist_ok=True)
        jax.profiler.start_trace(self._folder)

    def _end(self) -> None:
        if self._running:
            self._running = False
            self._did(jax.profiler.stop_trace)

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
