"""Being asked to stop."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils


class Stop:
    """Tells when a run was asked to stop.

    Attributes:
      signal: that asked, or None.
    """

    def __init__(self):
        self.signal: int | None = None

    def asked(self, step: int) -> bool:
        """Whether to stop after a step; to be called after every one."""
        return self.signal is not None


class _CommonStop(Stop):
    """JAX hears SIGTERM in every process and finds a step that none of them is beyond yet."""

    def asked(self, step: int) -> bool:
        if multihost_utils.reached_preemption_sync_point(step):
            self.signal = signal.SIGTERM
        return self.signal is not None


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Within the block SIGTERM, SIGHUP and SIGINT ask to stop instead of ending the process.

    A second SIGINT ends it after all. SIGHUP is left alone where it is ignored, as `nohup` does. If
    there are several processes, all stop after the same step when one of them is asked.
    """
    alone = jax.process_count() == 1
    stop = Stop() if alone else _CommonStop()
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        interrupted = interrupted or number == signal.SIGINT
        if alone:
            stop.signal = stop.signal or number
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    numbers = [signal.SIGTERM, signal.SIGINT] if alone else [signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
