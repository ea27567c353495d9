"""Paths on remote storage, such as gs://BUCKET/FOLDER, beside those of the file system."""

import errno
import functools
import logging
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from dgunet_jax.system.errors import UserError, listed, one_line

PathLike = str | os.PathLike[str]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}
_OF_ORBAX = ("gs", "s3")
_VERSIONS = ("generation", "etag", "ETag", "mtime", "LastModified", "created")
_UPLOAD_EVERY = 30  # seconds between uploads of a file that grows


def is_remote(path: PathLike) -> bool:
    """Return whether a path, or the text of one, is on remote storage."""
    return isinstance(path, RemotePath) or (isinstance(path, str) and bool(_SCHEME.match(path)))


def as_path(path: PathLike) -> Path:
    """Return a path to read from and write to: a `RemotePath` for what names remote storage.

    A `RemotePath` has the methods of `pathlib.Path` that this package uses, so it passes for one.
    """
    if is_remote(path) and not isinstance(path, RemotePath):
        return cast(Path, RemotePath(path))
    return cast(Path, path) if isinstance(path, PurePath) else Path(path)


class _Status(NamedTuple):
    """What of `os.stat_result` there is: the version of an object stands for its time."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_dev: str
    st_ino: str


class RemotePath(PurePosixPath):
    """A file or folder on storage that fsspec knows: gs://, s3://, memory:// and others.

    Files are objects: each is written whole or not at all. Folders are what the names of files
    begin with. Lost connections are retried by the library of each storage, for about half a
    minute. All methods raise an `OSError` of the same kinds as those of `pathlib.Path`.
    """

    _known: dict[str, Any] | None = None  # what the listing of its folder said of it

    @property
    def protocol(self) -> str:
        """The letters before "://"."""
        return self.parts[0].removesuffix(":")

    def __str__(self) -> str:
        return f"{self.parts[0]}//{'/'.join(self.parts[1:])}"

    def __fspath__(self) -> str:
        return str(self)

    def relative_to(self, *other: Any, **options: Any) -> PurePosixPath:
        return PurePosixPath(*self.parts[len(RemotePath(*other).parts) :])

    def absolute(self) -> "RemotePath":
        return self

    resolve = absolute

    def samefile(self, other: PathLike) -> bool:
        return self == as_path(other)

    def is_symlink(self) -> bool:
        return False

    def exists(self) -> bool:
        return self._call("exists")

    def is_dir(self) -> bool:
        return self._call("isdir")

    def is_file(self) -> bool:
        return self._call("isfile")

    def stat(self) -> _Status:
        """Return what is known of a file or folder, without a request if it was just listed."""
        found = self._known or self._call("info")
        version = next((found[key] for key in _VERSIONS if found.get(key)), "")
        return _Status(
            stat.S_IFDIR if found["type"] == "directory" else stat.S_IFREG,
            found.get("size") or 0,
            zlib.crc32(str(version).encode()),
            self.parts[0],
            str(self),
        )

    lstat = stat

    def iterdir(self) -> Iterator["RemotePath"]:
        if not self.is_dir():
            raise _refused(errno.ENOTDIR if self.exists() else errno.ENOENT, self)
        for found in self._call("ls", detail=True):
            name = found["name"].rstrip("/").rpartition("/")[2]
            path = self / name
            # What stands for the folder itself has its name, or none.
            if name and found["name"].rstrip("/").count("/") >= len(self.parts) - 1:
                path._known = found
                yield path

    def open(self, mode: str = "rb", **options: Any) -> BinaryIO:
        """Open a file to be read; what is written goes through `write_bytes`."""
        if mode != "rb":
            raise ValueError(f"{self}: remote files are opened to be read")
        return self._call("open", mode)

    def read_bytes(self) -> bytes:
        return self._call("cat_file")

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def write_bytes(self, content: bytes) -> None:
        """Write a file, which is there only when it is whole."""
        self._call("pipe_file", content)

    def mkdir(self, **options: Any) -> None:
        """Do nothing: folders are there when something is in them."""

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._call("rm_file")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rename(self, other: PathLike) -> None:
        """Copy a file or folder and remove the original: not at once, as a file system would."""
        if not self.exists():
            raise _refused(errno.ENOENT, self)
        self._call("mv", str(other), recursive=True)

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the file system; what it raises becomes an OSError with a number."""
        try:
            return getattr(_file_system(self.protocol), method)(str(self), *arguments, **options)
        except FileNotFoundError:
            raise _refused(errno.ENOENT, self) from None
        except UserError:
            raise
        except Exception as error:  # libraries raise errors of any type
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise OSError(errno.EIO, one_line(error)[:200], str(self)) from error


def _refused(number: int, path: RemotePath) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def as_epath(path: Path) -> Any:
    """Return a path as Orbax takes it, which writes and reads checkpoints by itself.

    Raises:
      UserError: it is on storage that Orbax does not know; it would take it for a local folder.
    """
    from etils import epath

    if isinstance(path, RemotePath) and path.protocol not in _OF_ORBAX:
        names = listed([f"{name}://" for name in _OF_ORBAX])
        raise UserError(f"{path}: checkpoints can be on a disk or on {names}")
    return epath.Path(path)


def check_protocol(text: str) -> None:
    """Raise a UserError unless there is a library for the storage that a path names."""
    _file_system(text.partition("://")[0])


def _file_system(protocol: str) -> Any:
    import fsspec

    _set_up_libraries()
    try:
        # Others write there too, so what a folder held a moment ago is not kept.
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(protocol, "the fsspec package of this storage")
        raise UserError(f"{protocol}://: cannot be read; install {package}") from error
    except ValueError as error:
        raise UserError(f"{protocol}://: is not a known storage: {one_line(error)}") from error


@functools.cache
def _set_up_libraries() -> None:
    # gcsfs asks for the kind of every bucket otherwise, which needs rights that reading does not.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    for name in ("gcsfs", "s3fs"):  # which log at length what they raise as well
        logging.getLogger(name).setLevel(logging.CRITICAL)


class Growing:
    """A file that is written from the beginning to the end, and may be read in between.

    Remote files cannot be appended to: they are uploaded as a whole, every half a minute and when
    the file is flushed or closed.

    Args:
      path: where.
      keep: whether what the file holds comes before what is written.

    Raises:
      OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, keep: bool = False):
        self._path = path
        self._file = self._content = None
        if is_remote(path):
            self._content = bytearray(path.read_bytes() if keep and path.exists() else b"")
            self._uploaded, self._time = len(self._content), time.monotonic()
        else:
            # Without a buffer, which closing would try to write again.
            self._file = path.open("ab" if keep else "wb", buffering=0)

    def write(self, content: bytes) -> None:
        if self._content is not None:
            self._content += content
            if time.monotonic() - self._time > _UPLOAD_EVERY:
                self.flush()
            return
        assert self._file is not None
        while content:
            content = content[self._file.write(content) :]

    def flush(self) -> None:
        """Upload what has been written since the last time."""
        if self._content is not None and len(self._content) > self._uploaded:
            self._path.write_bytes(bytes(self._content))
            self._uploaded, self._time = len(self._content), time.monotonic()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self.flush()
