"""What the formats of weight files share: bytes in, bytes out, and bytes as an array."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from dgunet_jax.errors import UserError

PathLike = str | os.PathLike[str]


def read_bytes(path: PathLike) -> bytes:
    """The whole file.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends, and never exists half written.

    It is written under a temporary name in the same folder. If the block raises, `path` stays as it
    was and nothing is left behind.

    Raises:
      UserError: it cannot be written.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def array_from_bytes(content: bytes, dtype: str, byteorder: Literal["<", ">"] = "<") -> np.ndarray:
    """The elements in `content`, read-only, in this machine's byte order.

    Args:
      content: a whole number of elements.
      dtype: NumPy's name, or "bfloat16": that comes out as float32, which holds it exactly.
      byteorder: that of `content`.
    """
    if dtype == "bfloat16":  # the upper half of a float32
        halves = np.frombuffer(content, f"{byteorder}u2").astype(np.uint32)
        array = (halves << 16).view(np.float32)
    else:
        stored = np.frombuffer(content, np.dtype(dtype).newbyteorder(byteorder))
        array = stored.astype(dtype, copy=False)
    array.flags.writeable = False
    return array
