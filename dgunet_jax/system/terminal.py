"""The edge of the command line: what is printed, and how a command ends."""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import NoReturn, Self, TextIO

from dgunet_jax.system.errors import UserError, one_line, printable, reason

_EXTRAS = {
    **dict.fromkeys(("absl", "clu", "grain", "ml_collections", "optax", "tensorboardX"), "train"),
    **dict.fromkeys(("array_record", "importlib_resources", "tensorflow_datasets"), "tfds"),
    "h5py": "evaluate",
    "gradio": "demo",
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
}
"""The extras of this package that bring packages which not all commands need."""

_lost: dict[str, OSError] = {}  # streams that cannot be written, by name
_renewed = False  # whether the last line on standard error waits to be replaced


def say(text: object) -> None:
    """Print a line on standard error, where progress and errors go."""
    global _renewed
    above, _renewed = "\n" if _renewed else "", False
    _write(sys.stderr, "standard error", f"{above}{printable(text)}\n")


def renew(text: object) -> None:
    """Print a line on a terminal that the next one replaces, if that is printed so as well."""
    global _renewed
    _renewed = True
    _write(sys.stderr, "standard error", f"\r\x1b[K{printable(text)}")


def on_screen() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def show(text: object) -> None:
    """Print a result on standard output; it may have several lines."""
    lines = "".join(f"{printable(line)}\n" for line in str(text).split("\n"))
    _write(sys.stdout, "standard output", lines)


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit status: 2, and one line, after a user's mistake.

    A file that cannot be read or written is one as well: permission denied, a full disk, a folder
    that has vanished. A reader of standard output that goes away, such as `head`, does not end the
    command; any other failure to write there is told at its end and makes the status 2.

    Raises:
      SystemExit: a signal asked to end, so that what is being written is removed first.
    """
    # XLA logs tens of lines as errors when it takes more than a second; what fails is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _usable_process(), _signals_raise():
        try:
            status = command()
        except UserError as error:
            say(f"error: {error}")
            status = 2
        except KeyboardInterrupt:
            say("interrupted")
            status = 130
        except ModuleNotFoundError as error:
            if (extra := _EXTRAS.get((error.name or "").partition(".")[0])) is None:
                raise
            say(f"error: {error.name} is not installed; pip install 'dgunet_jax[{extra}]' has it")
            status = 2
        except BrokenPipeError:  # a library's output, such as help, whose reader has gone
            _discard(sys.stdout)
            status = 128 + signal.SIGPIPE
        except OSError as error:
            if error.errno is None:  # not the system's, but a library's
                raise
            say(f"error: {of_the_system(error)}")
            status = 2
        if (error := _lost.get("standard output")) is not None and error.errno != errno.EPIPE:
            say(f"error: standard output: cannot be written: {reason(error)}")
            status = status or 2
    return status


def of_the_system(error: OSError) -> str:
    """Return what the operating system refused, as "FILE: REASON"."""
    place = error.filename2 or error.filename
    if isinstance(place, bytes):
        place = os.fsdecode(place)
    return one_line(error) if place is None else f"{place}: {reason(error)}"


def _write(stream: TextIO | None, name: str, text: str) -> None:
    if stream is None:  # closed by whoever started the process
        return
    try:
        print(text, end="", file=stream, flush=True)
    except OSError as error:
        _lost.setdefault(name, error)
        _discard(stream)


def _discard(stream: TextIO) -> None:
    """Let what is still written to a stream go nowhere, so that ending the process cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _usable_process() -> Iterator[None]:
    """Make sure that the standard streams exist and take every character, and figures no screen."""
    _lost.clear()
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # A file opened later would get this number, and libraries would print into it.
            os.open(os.devnull, flags)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Figures go to files. Notebooks name a backend here that this environment may not have.
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                try:
                    stream.flush()
                except OSError:
                    _discard(stream)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit where they would end the process at once."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        # Python allows it in its main thread alone; nohup ignores SIGHUP.
        if threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


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
