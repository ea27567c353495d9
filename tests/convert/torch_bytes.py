"""PyTorch's files put together by hand, and what the reader says of bad ones."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax.convert.storage import Storage, StoredTensor
from dgunet_jax.convert.torch_file import read_torch
from dgunet_jax.convert.torch_pickle import kind
from dgunet_jax.system.errors import UserError

FLOATS = np.arange(4, dtype="<f4")
VECTOR = StoredTensor(Storage("0", "float32", 4), 0, (4,), (1,))


def zip_file(content: bytes, storages: Mapping[str, bytes], byteorder: bytes = b"little") -> bytes:
    """A file in the zip format whose data.pkl is `content`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/byteorder", byteorder)
        for key, elements in storages.items():
            archive.writestr(f"x/data/{key}", elements)
    return file.getvalue()


def old_file(content: bytes, storages: Mapping[str, bytes], itemsize: int = 4) -> bytes:
    """A file in the old format whose fourth pickle is `content`."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    file = b"".join(pickle.dumps(value, protocol=2) for value in head)
    file += content + pickle.dumps(list(storages), protocol=2)
    for elements in storages.values():
        file += struct.pack("<q", len(elements) // itemsize) + elements
    return file


FORMATS = {"zip": zip_file, "old": old_file}
each_format = pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
Make = Callable[[bytes, Mapping[str, bytes]], bytes]


def text(value: str) -> bytes:
    """The opcode that pushes a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The state dict in a file, which may be under `state_dict`."""
    saved = read_torch(path)
    root = saved.root
    if isinstance(root, dict):
        root = root.get("state_dict", root)
    is_state_dict = isinstance(root, dict) and root
    if not (is_state_dict and all(isinstance(each, StoredTensor) for each in root.values())):
        raise UserError(f"{path}: holds {kind(root)}")
    return saved.arrays(root)


def refusal(path: Path, content: bytes) -> str:
    """What is said about a file of that content: one line that begins with its name."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        arrays(path)
    start, message = f"{path}: ", str(caught.value)
    assert message.startswith(start)
    assert len(message.splitlines()) == 1
    assert len(message) < len(start) + 400
    return message.removeprefix(start)
