"""Silence of decoders that log what they find odd about a file and read it all the same."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_silent: ContextVar[bool] = ContextVar("decoders are silent", default=False)

# What they log outside of `quietly`, or in other threads meanwhile, is heard as ever.
for _name in ("imagecodecs", "tifffile"):
    logging.getLogger(_name).addFilter(lambda record: not _silent.get())


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing decoders log in this thread is heard while this is open."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
