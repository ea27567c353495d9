"""Being asked to stop."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stop:
    """Remembers the first signal that asked to stop.

    Attributes:
      signal: its number, or None.
    """

    def __init__(self):
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Within the block SIGTERM and SIGINT set the flag instead of ending the process.

    A second SIGINT ends it after all.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = stop.signal or number

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
