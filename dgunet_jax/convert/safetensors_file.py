"""safetensors files."""

import json
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from dgunet_jax.convert.storage import array_from_bytes, shown
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import read_bytes, replacing
from dgunet_jax.system.storage import PathLike

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
"""The format's names of types, to NumPy's."""


def read_safetensors(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file.

    Returns:
      (arrays, metadata). The arrays are read-only; bfloat16 becomes float32, which is exact, and
      every other type stays. The metadata is empty if the file has none.

    Raises:
      UserError: the file cannot be read, is damaged or no safetensors file, or has a type of
        elements NumPy does not.
    """
    content = read_bytes(path)
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: is a damaged file or no safetensors file: {error}") from error
    arrays = {}
    # They come in an order that changes from process to process.
    for key, tensor in sorted(tensors, key=lambda named: named[0]):
        dtype, shape = tensor["dtype"], tensor["shape"]
        if dtype not in DTYPES:
            raise UserError(f"{path}: {shown(key)} has elements of the unsupported type {dtype}")
        try:
            arrays[key] = array_from_bytes(bytes(tensor["data"]), DTYPES[dtype]).reshape(shape)
        except ValueError as error:
            raise UserError(f"{path}: {shown(key)} has an impossible shape: {error}") from error
    return arrays, _metadata(content[8 : 8 + _header_size(content)])


def _header_size(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _metadata(header: bytes) -> dict[str, str]:
    return json.loads(header).get("__metadata__") or {}


def write_safetensors(
    path: PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes a safetensors file, which takes its place only when it is whole.

    Raises:
      UserError: the format has no type for an array, or the file cannot be written.
    """
    # The library writes the memory of an array as it lies there, whatever the strides say.
    contiguous = {key: np.asarray(array, order="C") for key, array in arrays.items()}
    for key, array in contiguous.items():
        if array.dtype.name not in DTYPES.values():
            raise UserError(
                f"{path}: {shown(key)} is {array.dtype}, which safetensors files cannot hold"
            )
    content = safetensors.numpy.save(contiguous, dict(metadata) or None)
    with replacing(path) as file:
        file.write(content)
