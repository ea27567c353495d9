"""MATLAB's files, of the versions up to 7 and of version 7.3, which is HDF5."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from dgunet_jax.errors import UserError, reason

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_AT = (0, 512)  # where its signature may lie


def read_array(path: Path, name: str) -> NDArray[Any]:
    """A numeric array, with its axes in MATLAB's order.

    Raises:
      UserError: the file cannot be read, or has no such array.
    """
    try:
        array = _read_hdf5(path, name) if is_hdf5(path) else _read_old(path, name)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except Exception as error:  # the libraries raise errors of any type on a damaged file
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    if array is None:
        raise UserError(f"{path}: has no array {name}")
    return array


def is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        for position in _HDF5_AT:
            file.seek(position)
            if file.read(len(_HDF5)) == _HDF5:
                return True
    return False


def _read_old(path: Path, name: str) -> NDArray[Any] | None:
    return scipy.io.loadmat(path, variable_names=[name]).get(name)


def _read_hdf5(path: Path, name: str) -> NDArray[Any] | None:
    with h5py.File(path, "r") as file:
        found = file.get(name)
        # HDF5 has the axes the other way round.
        return np.ascontiguousarray(found[()].T) if isinstance(found, h5py.Dataset) else None
