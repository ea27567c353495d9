"""One run at a time in a working directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dgunet_jax.errors import UserError, reason

_NAME = "lock"


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Makes the folder and holds its lock, which ends with the process however that ends.

    Raises:
      UserError: another process holds it, or the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / _NAME).open("a+")
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written: {reason(error)}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise UserError(
                f"{workdir}: another run is using it ({file.read().strip() or 'just started'})"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield
