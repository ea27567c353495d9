"""Whole files, never half written, and one run at a time in a directory."""

import contextlib
import errno
import fcntl
import importlib
import io
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from dgunet_jax.system.errors import UserError, one_line, reason
from dgunet_jax.system.storage import PathLike, as_path, check_protocol, is_remote

Result = TypeVar("Result")


def user_path(text: str) -> Path:
    """Return the path that a user gave, with `~` and `~USER` replaced by the home directory.

    A file whose own name begins with `~` is found if it is there, and always as `./~NAME`. What
    names remote storage, such as gs://BUCKET/FOLDER, is a `storage.RemotePath`.

    Raises:
      UserError: it names storage that is not known, or whose library is not installed, or a home
        directory that is not known.
    """
    if is_remote(text):
        check_protocol(text)
        return as_path(text)
    path = os.path.expanduser(text)
    user = text.split("/")[0]
    if path.startswith("~") and (user == "~" or not os.path.lexists(user)):
        raise UserError(f"{text}: the home directory {user} is not known")
    return Path(path)


def imported(name: str) -> Any:
    """Return what MODULE:NAME is; the module may lie in the current folder.

    Raises:
      UserError: there is no such module or name, or the module fails.
    """
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # of whatever the module does when it is imported
        raise UserError(f"{name}: {one_line(error)}") from error
    finally:
        sys.path.remove(os.getcwd())


def read_bytes(path: PathLike) -> bytes:
    """Return the whole file.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return as_path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of `path` when the block ends, never half written.

    It is written under a temporary name in the same folder; a remote file is uploaded at the end.
    If the block raises, `path` stays as it was and nothing is left behind.

    Raises:
      UserError: it cannot be written.
    """
    path = as_path(path)
    if is_remote(path):
        content = io.BytesIO()
        yield content
        try:
            path.write_bytes(content.getvalue())
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {reason(error)}") from error
        return
    # Without the file's own name, which may be as long as a name can be.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_copy(path: Path, function: Callable[[Path], Result]) -> Result:
    """Return what a function makes of a temporary copy of a remote file.

    Raises:
      UserError: the file cannot be read; or what the function raises, with the file's own name.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(read_bytes(path))
        try:
            return function(copy)
        except UserError as error:
            raise UserError(str(error).replace(str(copy), str(path))) from error


def check_folder(path: PathLike) -> None:
    """Raise a UserError before the work if a folder cannot be made, or written to.

    Of a remote one it is only asked whether its storage answers.

    Raises:
      UserError: it cannot.
    """
    path = as_path(path)
    try:
        if is_remote(path):
            path.exists()
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # a name that is too long is told here
        found = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not found.is_dir():
            raise UserError(f"{path}: cannot be made: {found} is not a directory")
        with tempfile.TemporaryFile(dir=found):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error


_NAME = "lock"
_HOLDER = re.compile(rb"process \d+ on [^\n]*")
_LONGEST = 1000  # bytes of a lock that are looked at


@contextlib.contextmanager
def locked(workdir: Path, name: str = _NAME) -> Iterator[None]:
    """Make the folder and hold its lock, which ends with the process however that ends.

    If the block raises before anything else is in a folder that was made here, the folder goes.

    Remote folders are not locked: storage knows no lock that would end with a process.

    Args:
      workdir: the folder.
      name: of the file that is locked.

    Raises:
      UserError: another process holds it, the folder cannot be locked or written, or its file
        `lock` is not one of this function.
    """
    if is_remote(workdir):
        check_folder(workdir)
        yield
        return
    path = workdir / name
    made = not workdir.exists()
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
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                if os.listdir(workdir) == [name]:
                    path.unlink()
                    workdir.rmdir()
        raise
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
