"""State dicts in PyTorch's files, read and written without PyTorch.

`torch.save` writes a zip archive since version 1.6. Before that, and on request ever since, it
wrote the old format: four pickles (a magic number, the format's version, facts about the machine,
what is saved), a fifth with the names of the storages, and then each storage as a count and its
elements, little-endian on every machine.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dgunet_jax.convert import torch_pickle
from dgunet_jax.convert.files import array_from_bytes
from dgunet_jax.convert.stored import STORAGES, BadCheckpoint, Storage, StoredTensor, shown
from dgunet_jax.errors import UserError
from dgunet_jax.files import PathLike, read_bytes, replacing
from dgunet_jax.wording import either

WRAPPERS = ("state_dict", "model_state_dict", "params", "model")
"""Where training scripts put the state dict in what they save; the first that is there counts."""

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_OLD_VERSION = 1001
# What zipfile raises over damaged archives; NotImplementedError is a RuntimeError.
_ZIP_ERRORS = (
    zipfile.BadZipFile, EOFError, LookupError, OSError, RuntimeError, ValueError, struct.error
)  # fmt: skip

_ReadStorage = Callable[[Storage], np.ndarray]


def read_torch(path: PathLike) -> dict[str, np.ndarray]:
    """The state dict in a file of `torch.save`, in the zip format or the old one.

    It may be the whole file or an entry of a dict (see WRAPPERS), whose other entries, such as the
    epoch and the optimizer, do not matter. `module.`, which training on several GPUs puts in front
    of every name, is taken off. Nothing in the file is ever run.

    Args:
      path: a `.pth`, `.pt` or `.pkl` file.

    Returns:
      Names to arrays, in the file's order; read-only, those that share a storage sharing memory.
      bfloat16 becomes float32, which is exact; every other type stays.

    Raises:
      UserError: the file cannot be read, is not of `torch.save`, is damaged, holds no state dict,
        or its pickle asks for anything but tensors and plain values.
    """
    content = read_bytes(path)
    is_zip = content.startswith(b"PK\x03\x04")
    try:
        root, read_storage = _open_zip(content) if is_zip else _open_old(content)
        return without_prefix(_arrays(_state_dict(root), read_storage, len(content)))
    except BadCheckpoint as error:
        raise UserError(f"{path}: {error}") from error


def write_torch(path: PathLike, state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict that `torch.load(path, weights_only=True)` reads, in the same order.

    The same arrays make the same bytes. The file takes its place only when it is whole.

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

        write("data.pkl", torch_pickle.dump(tensors))
        write("byteorder", b"little")
        write("version", b"3\n")
        for key, array in arrays.items():
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            write(f"data/{tensors[key].storage.key}", little.tobytes())


def without_prefix(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Names without `module.`, if every one of them starts with it."""
    if all(key.startswith("module.") for key in state_dict):
        return {key.removeprefix("module."): value for key, value in state_dict.items()}
    return dict(state_dict)


def _open_zip(content: bytes) -> tuple[Any, _ReadStorage]:
    """What was saved, and what reads its storages, in the zip format."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _ZIP_ERRORS as error:
        raise BadCheckpoint("is a damaged or cut off zip archive") from error
    members = {member.filename: member for member in archive.infolist()}
    folders = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise BadCheckpoint("is a zip archive, but not one of torch.save")
    folder = folders[0]
    if any(name.startswith((f"{folder}code/", f"{folder}constants.pkl")) for name in members):
        raise BadCheckpoint(
            "is a TorchScript archive; torch.save the module's state_dict() instead"
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
        raise BadCheckpoint("is a compressed zip archive, which torch.save never writes")
    if sum(member.file_size for member in members.values()) > len(content):
        raise BadCheckpoint("is a zip archive whose members claim to be larger than the file")

    def read(name: str) -> bytes:
        try:
            return archive.read(folder + name)
        except _ZIP_ERRORS as error:
            raise BadCheckpoint(f"has a missing or damaged part {shown(folder + name)}") from error

    byteorder = read("byteorder") if f"{folder}byteorder" in members else b"little"
    if byteorder not in (b"little", b"big"):
        raise BadCheckpoint(f"has the unknown byte order {shown(byteorder)}")

    def read_storage(storage: Storage) -> np.ndarray:
        elements = read(f"data/{storage.key}")
        if len(elements) != storage.size:
            raise BadCheckpoint(
                f"has {len(elements)} bytes in storage {shown(storage.key)}, not {storage.size}"
            )
        return array_from_bytes(elements, storage.dtype, "<" if byteorder == b"little" else ">")

    return torch_pickle.load(io.BytesIO(read("data.pkl")), {}), read_storage


def _open_old(content: bytes) -> tuple[Any, _ReadStorage]:
    """What was saved, and what reads its storages, in the old format."""
    if not content:
        raise BadCheckpoint("is empty")
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

    return root, read_storage


def _state_dict(root: Any) -> dict[str, StoredTensor]:
    """The tensors in what was saved."""
    if not isinstance(root, dict):
        raise BadCheckpoint(f"holds {torch_pickle.kind(root)}, not a state dict")
    state_dict = next((root[key] for key in WRAPPERS if isinstance(root.get(key), dict)), root)
    if not state_dict:
        raise BadCheckpoint("holds an empty state dict")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, StoredTensor):
            raise BadCheckpoint(
                f"holds {torch_pickle.kind(value)} under {shown(key)}, not a tensor; a state dict "
                f"inside another dict must be under {either(WRAPPERS)}"
            )
    return state_dict


def _arrays(
    state_dict: Mapping[str, StoredTensor], read_storage: _ReadStorage, most_bytes: int
) -> dict[str, np.ndarray]:
    """The tensors as views of their storages, each storage read once."""
    elements: dict[str, np.ndarray] = {}
    arrays = {}
    for key, tensor in state_dict.items():
        storage = tensor.storage
        if storage.key not in elements:
            elements[storage.key] = read_storage(storage)
        try:
            arrays[key] = tensor.view(elements[storage.key], most_bytes)
        except BadCheckpoint as error:
            raise BadCheckpoint(f"has a wrong tensor: {shown(key)} {error}") from error
    return arrays
