"""Files of torch.save, read and written without PyTorch."""

import dataclasses
import io
import math
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dgunet_jax.convert import torch_pickle
from dgunet_jax.convert.storage import (
    STORAGES,
    BadCheckpoint,
    InlineArray,
    Storage,
    StoredTensor,
    array_from_bytes,
    shown,
)
from dgunet_jax.system.errors import UserError, listed
from dgunet_jax.system.files import read_bytes, replacing
from dgunet_jax.system.storage import PathLike

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_OLD_VERSION = 1001
_MOST_COMPRESSED = 100  # weights compress little; what Deflate can do to zeros is 1000:1
_PICKLE = "data.pkl"
_CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors")
# What zipfile raises over damaged archives; NotImplementedError is a RuntimeError.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, LookupError, OSError, RuntimeError, ValueError,
    struct.error,
)  # fmt: skip

_ReadStorage = Callable[[Storage], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Saved:
    """What `torch.save` was given.

    Attributes:
      path: the file.
      root: plain values, containers, `StoredTensor`, `UnreadTensor` and `Opaque` records.
      most_bytes: what all storages have together.
    """

    path: PathLike
    root: Any
    most_bytes: int
    _read_storage: _ReadStorage

    def arrays(self, tensors: Mapping[str, StoredTensor | InlineArray]) -> dict[str, np.ndarray]:
        """Return tensors as views of their storages, each storage read once.

        Returns:
          Names to arrays, in the same order; read-only, those that share a storage sharing memory.
          bfloat16 becomes float32, which is exact; every other type stays.

        Raises:
          BadCheckpoint: a tensor does not lie in its storage, storages are missing or damaged, or
            the tensors claim more memory than there are bytes in the file.
        """
        try:
            distinct = {t for t in tensors.values() if isinstance(t, StoredTensor)}
            if sum(tensor.nbytes for tensor in distinct) > self.most_bytes:
                raise BadCheckpoint("has tensors that claim more than the file can hold")
            elements: dict[str, np.ndarray] = {}
            return {key: self._array(key, each, elements) for key, each in tensors.items()}
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{self.path}: {error}") from error

    def _array(
        self, key: str, tensor: StoredTensor | InlineArray, elements: dict[str, np.ndarray]
    ) -> np.ndarray:
        if isinstance(tensor, StoredTensor):
            storage = tensor.storage
            if storage.key not in elements:
                elements[storage.key] = self._read_storage(storage)
        try:
            if isinstance(tensor, InlineArray):
                return tensor.array()
            return tensor.view(elements[tensor.storage.key], self.most_bytes)
        except BadCheckpoint as error:
            raise BadCheckpoint(f"has a wrong tensor: {shown(key)} {error}") from error


def read_torch(path: PathLike) -> Saved:
    """Read a file of `torch.save`, in the zip format or the old one. Nothing in it is ever run.

    Args:
      path: the file, or the folder it was unpacked to.

    Raises:
      BadCheckpoint: it is not of `torch.save`, or is damaged.
      UserError: it cannot be read.
    """
    try:
        folder = unpacked(path)
        if folder is not None:
            return Saved(path, *_open_parts(_Folder(folder)))
        content = read_bytes(path)
        if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return Saved(path, *_open_parts(_Zip(content)))
        return Saved(path, *_open_old(content))
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path}: {error}") from error


def write_torch(
    path: PathLike,
    state_dict: Mapping[str, np.ndarray],
    beside: Mapping[str, int] | None = None,
) -> None:
    """Write a state dict that `torch.load(path, weights_only=True)` reads, in the same order.

    The same arrays make the same bytes. The file takes its place only when it is whole.

    Args:
      beside: given, the state dict is under `state_dict` in a dict with these.

    Raises:
      UserError: PyTorch has no storage for an array's type, or the file cannot be written.
    """
    arrays = {key: np.asarray(value) for key, value in state_dict.items()}
    tensors = {}
    for number, (key, array) in enumerate(arrays.items()):
        if array.dtype.name not in STORAGES.values():
            raise UserError(f"{path}: {shown(key)} is {array.dtype}, which .pth files cannot hold")
        storage = Storage(str(number), array.dtype.name, array.size)
        strides = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
        tensors[key] = StoredTensor(storage, 0, array.shape, strides)

    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:

        def write(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)

        write(_PICKLE, torch_pickle.dump(tensors, beside))
        write("byteorder", b"little")
        write("version", b"3\n")
        for key, array in arrays.items():
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            write(f"data/{tensors[key].storage.key}", little.tobytes())


def unpacked(path: PathLike) -> Path | None:
    """Return the folder with the parts of an archive that was unpacked to `path`, if it is one.

    It may be `path` itself or the only folder in it with such parts.
    """
    path = Path(path)
    if not path.is_dir():
        return None
    if (path / _PICKLE).is_file():
        return path
    found = [inner.parent for inner in path.glob(f"*/{_PICKLE}") if not inner.parent.is_symlink()]
    return found[0] if len(found) == 1 else None


class _Zip:
    """The parts of an archive: their sizes by name, and their bytes."""

    def __init__(self, content: bytes):
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except _ZIP_ERRORS as error:
            raise BadCheckpoint("is a damaged or cut off zip archive") from error
        members = {member.filename: member for member in self._archive.infolist()}
        pickles = [
            name
            for name in members
            if f"/{name}".endswith(f"/{_PICKLE}") and not name.startswith("__MACOSX/")
        ]
        if len(pickles) != 1:
            inner = [shown(name) for name in members if name.endswith(_CHECKPOINTS)]
            if inner:
                raise BadCheckpoint(
                    f"is a zip archive with {listed(inner, 3)} in it; unpack it first"
                )
            raise BadCheckpoint("is a zip archive, but not one of torch.save")
        self._folder = pickles[0].removesuffix(_PICKLE)
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members.values())
        for member in members.values():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BadCheckpoint(
                    "is a zip archive compressed by an unusual method; pack it with Deflate"
                )
        self.total = sum(member.file_size for member in members.values())
        if stored and self.total > len(content):
            raise BadCheckpoint("is a zip archive whose members claim to be larger than the file")
        if self.total > _MOST_COMPRESSED * len(content):
            raise BadCheckpoint(
                f"is a zip archive that claims to unpack to {self.total:,} bytes, more than"
                f" {_MOST_COMPRESSED} times its own"
            )
        self.sizes = {
            name.removeprefix(self._folder): member.file_size
            for name, member in members.items()
            if name.startswith(self._folder)
        }

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._folder + name)  # no more than the size it claims
        except _ZIP_ERRORS as error:
            raise BadCheckpoint(
                f"has a missing or damaged part {shown(self._folder + name)}"
            ) from error


class _Folder:
    """The same of an archive that was unpacked. Links in it are not followed."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.sizes: dict[str, int] = {}
        for inside, prefix in ((folder, ""), (folder / "data", "data/")):
            if not inside.is_dir() or inside.is_symlink():
                continue
            for path in inside.iterdir():
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    self.sizes[prefix + path.name] = status.st_size
        self.total = sum(self.sizes.values())

    def read(self, name: str) -> bytes:
        if name not in self.sizes:
            raise BadCheckpoint(f"has no part {shown(name)}")
        return read_bytes(self._folder / name)


def _open_parts(parts: _Zip | _Folder) -> tuple[Any, int, _ReadStorage]:
    """What was saved, the bytes there are, and what reads its storages, in the zip format."""
    if any(name.startswith(("code/", "constants.pkl")) for name in parts.sizes):
        raise BadCheckpoint(
            "is a TorchScript archive; torch.save the module's state_dict() instead"
        )
    byteorder = parts.read("byteorder") if "byteorder" in parts.sizes else b"little"
    if byteorder not in (b"little", b"big"):
        raise BadCheckpoint(f"has the unknown byte order {shown(byteorder)}")

    def read_storage(storage: Storage) -> np.ndarray:
        name = f"data/{storage.key}"
        if parts.sizes.get(name, storage.size) != storage.size:
            raise BadCheckpoint(
                f"has {parts.sizes[name]} bytes in storage {shown(storage.key)}, not {storage.size}"
            )
        elements = parts.read(name)
        if len(elements) != storage.size:
            raise BadCheckpoint(f"is cut off in storage {shown(storage.key)}")
        return array_from_bytes(elements, storage.dtype, "<" if byteorder == b"little" else ">")

    root = torch_pickle.load(io.BytesIO(parts.read(_PICKLE)), {})
    return root, parts.total, read_storage


def _open_old(content: bytes) -> tuple[Any, int, _ReadStorage]:
    """The same in the old format."""
    if content[:1] != b"\x80":  # the first opcode of every pickle since protocol 2
        raise BadCheckpoint(f"is not a PyTorch checkpoint, it starts with {shown(content[:20])}")
    stream = io.BytesIO(content)
    if torch_pickle.load(stream) != _MAGIC_NUMBER:
        raise BadCheckpoint("is a pickle, but not one of torch.save")
    if torch_pickle.load(stream) != _OLD_VERSION:
        raise BadCheckpoint(f"is in PyTorch's old format, but not in its version {_OLD_VERSION}")
    torch_pickle.load(stream)  # facts about the machine, on which nothing depends
    storages: dict[str, Storage] = {}
    root = torch_pickle.load(stream, storages)
    keys = torch_pickle.load(stream)
    is_list = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not is_list or sorted(keys) != sorted(storages):
        raise BadCheckpoint("does not list the storages its tensors are in")

    starts, position = {}, stream.tell()
    for key in keys:
        storage = storages[key]
        starts[key] = position + 8
        position += 8 + storage.size
        if position > len(content):
            raise BadCheckpoint(f"is cut off in storage {shown(key)}, at byte {len(content)}")
        (count,) = struct.unpack_from("<q", content, starts[key] - 8)
        if count != storage.count:
            raise BadCheckpoint(
                f"has {count} elements in storage {shown(key)}, not {storage.count}"
            )

    def read_storage(storage: Storage) -> np.ndarray:
        start = starts[storage.key]
        return array_from_bytes(content[start : start + storage.size], storage.dtype)

    return root, len(content), read_storage
