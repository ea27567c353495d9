"""One run at a time in a working directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from dgunet_jax.errors import UserError, reason

_NAME = "lock"


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Makes the folder and holds its lock, which ends with the process however that ends.

    Raises:
      UserError: another process holds it, or the folder cannot be locked or written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # Without a buffer, which closing would try to write again.
        file = (workdir / _NAME).open("ab+", buffering=0)
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written: {reason(error)}") from error
    with file:
        _lock(workdir, file)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}".encode())
        except OSError as error:
            raise UserError(f"{workdir / _NAME}: cannot be written: {reason(error)}") from error
        yield


def _lock(workdir: Path, file: FileIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or "just started"
        raise UserError(f"{workdir}: another run is using it ({holder})") from error
    except OSError as error:
        raise UserError(f"{workdir}: cannot be locked: {reason(error)}") from error
