"""One run at a time in a working directory."""

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from dgunet_jax.errors import UserError, reason

_NAME = "lock"
_HOLDER = re.compile(rb"process \d+ on [^\n]*")
_LONGEST = 1000  # bytes of a lock that are looked at


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Make the folder and hold its lock, which ends with the process however that ends.

    Raises:
      UserError: another process holds it, the folder cannot be locked or written, or its file
        `lock` is not one of this function.
    """
    path = workdir / _NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # O_NONBLOCK: a pipe of that name would wait for its other end.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise _foreign(path) from error
        raise UserError(f"{workdir}: cannot be written: {reason(error)}") from error
    try:
        holder = _holder(path, file)
        _lock(workdir, file, holder)
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {reason(error)}") from error
        yield
    finally:
        os.close(file)


def _holder(path: Path, file: int) -> str:
    """Return what a lock says of the process that holds or held it."""
    content = os.pread(file, _LONGEST, 0) if stat.S_ISREG(os.fstat(file).st_mode) else None
    if content is None or (content and not _HOLDER.fullmatch(content)):
        raise _foreign(path)
    return content.decode(errors="replace") or "just started"


def _foreign(path: Path) -> UserError:
    return UserError(
        f"{path}: is not a lock of dgunet_jax; move it away, or choose another directory"
    )


def _lock(workdir: Path, file: int, holder: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{workdir}: another run is using it ({holder})") from error
    except OSError as error:
        raise UserError(f"{workdir}: cannot be locked: {reason(error)}") from error
