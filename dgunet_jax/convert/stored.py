"""Tensors as PyTorch's files describe them: views of storages."""

import dataclasses
import math

import numpy as np

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


class BadCheckpoint(Exception):
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
    def size(self) -> int:
        """Bytes."""
        itemsize = 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize
        return self.count * itemsize


@dataclasses.dataclass(frozen=True, slots=True)
class StoredTensor:
    """A view of a storage; offset and strides count elements and may not fit it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

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
