"""How far a long piece of work is: a bar on a terminal, lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from dgunet_jax.system.errors import printable
from dgunet_jax.system.terminal import say, show


class Progress:
    """Counts pictures, and estimates the time left from how much of the work is done.

    Args:
      count: how many pictures there are.
      work: how much there is to do in all, in any unit.
    """

    def __init__(self, count: int, work: float):
        self._count, self._work = count, work
        self._done, self._worked = 0, 0.0
        self._start = time.monotonic()
        self._bar = None
        if sys.stderr is not None and sys.stderr.isatty():  # None where it is closed
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.fields[done]}/{task.fields[count]}"),
                BarColumn(),
                TimeRemainingColumn(),
                # File names are not markup.
                TextColumn("{task.description}", markup=False),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=work, done=0, count=count)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Prints a line."""
        if self._bar is not None:
            self._bar.console.print(printable(line), markup=False, highlight=False)
        else:
            say(line)

    def advance(self, line: str, work: float) -> None:
        """One more picture is done."""
        self._done += 1
        self._worked += work
        if self._bar is not None:
            self._bar.update(self._task, advance=work, done=self._done, description=printable(line))
            return
        elapsed = time.monotonic() - self._start
        left = elapsed * (self._work - self._worked) / self._worked if self._worked else 0.0
        show(f"{printable(line)} ({self._done}/{self._count}, {clock(left)} left)")


def clock(seconds: float) -> str:
    """3:07 or 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
