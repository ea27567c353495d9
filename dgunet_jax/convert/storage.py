"""Arrays as checkpoint files hold them."""

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from dgunet_jax.system.errors import UserError


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


STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
}
"""PyTorch's names of storage types, to NumPy's names of their elements."""

UNREAD_STORAGES = {
    "UntypedStorage": "uint8",
    "QInt8Storage": "int8",
    "QInt32Storage": "int32",
    "QUInt8Storage": "uint8",
    "QUInt4x2Storage": "uint8",
    "QUInt2x4Storage": "uint8",
}
"""Storages of tensors that are not read, to types of their size."""


class BadCheckpoint(UserError):
    """What is wrong with a checkpoint, told so that "path: " can stand in front of it."""


def shown(value: str | bytes | int | float | None) -> str:
    """`value` quoted for a message of one line; what is long is cut."""
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """A run of `count` elements under the name `key`; `dtype` is one of the values of STORAGES."""

    key: str
    dtype: str
    count: int

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * self.itemsize


@dataclasses.dataclass(frozen=True, slots=True)
class StoredTensor:
    """A view of a storage; offset and strides count elements and may not fit it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        return self.storage.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of a copy, which zero strides may make more than those of the storage."""
        return math.prod(self.shape) * self.storage.itemsize

    def view(self, elements: np.ndarray, most_bytes: int) -> np.ndarray:
        """The tensor as a view of its storage's elements.

        Args:
          elements: (count,), those of `storage`.
          most_bytes: the tensor may not claim more. (Zero strides repeat elements and take no
            memory, until someone copies the array.)

        Raises:
          BadCheckpoint: the tensor does not lie within the storage.
        """
        if len(self.shape) != len(self.strides):
            raise BadCheckpoint(f"has {len(self.shape)} sizes but {len(self.strides)} strides")
        itemsize = elements.itemsize
        if math.prod(size for size in self.shape if size) * itemsize > most_bytes:
            raise BadCheckpoint(f"claims shape {self.shape}, more than the file can hold")
        if 0 in self.shape:
            return np.empty(self.shape, elements.dtype)
        axes = list(zip(self.shape, self.strides, strict=True))
        last = self.offset + sum((size - 1) * stride for size, stride in axes)
        if last >= len(elements):
            raise BadCheckpoint(f"ends at element {last + 1} of a storage that has {len(elements)}")
        # The stride of an axis of size 1 means nothing and may be too large for NumPy.
        strides = [stride * itemsize if size > 1 else 0 for size, stride in axes]
        return np.ndarray(self.shape, elements.dtype, elements, self.offset * itemsize, strides)


@dataclasses.dataclass(frozen=True, slots=True)
class InlineArray:
    """A NumPy array whose elements are in the pickle itself."""

    dtype: str
    byteorder: str
    shape: tuple[int, ...]
    in_columns: bool
    content: bytes

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def array(self) -> np.ndarray:
        """The array, read-only.

        Raises:
          BadCheckpoint: it has more or fewer bytes than its shape needs.
        """
        if len(self.content) != self.nbytes:
            raise BadCheckpoint(f"has {len(self.content)} bytes, not {self.nbytes}")
        flat = array_from_bytes(self.content, self.dtype, ">" if self.byteorder == ">" else "<")
        return flat.reshape(self.shape, order="F" if self.in_columns else "C")


@dataclasses.dataclass(frozen=True, slots=True)
class UnreadTensor:
    """A tensor of a kind that no network here has: sparse, quantised, of type float8_e4m3fn …"""

    kind: str


@dataclasses.dataclass(slots=True, eq=False)
class Opaque:
    """An object that is never built: what the pickle says of it, and nothing is looked up for it.

    Attributes:
      name: of the class or function that Python would call for it.
      arguments: what it would be called with.
      state: what its attributes would be set to.
      items: what would be set in it as in a dict.
    """

    name: str
    arguments: Any = ()
    state: Any = None
    items: dict[Any, Any] | None = None
