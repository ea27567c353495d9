"""Arrays in files: NumPy's .npy and .npz, MATLAB's .mat."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.system.errors import UserError, listed, reason
from dgunet_jax.system.files import read_copy
from dgunet_jax.system.storage import is_remote

ENDINGS = (".npy", ".npz", ".mat")


def is_array_file(path: Path) -> bool:
    """Return whether a file's ending says that it holds arrays."""
    return path.suffix.lower() in ENDINGS


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Read the array of a file.

    Args:
      path: of a .npy file, or of a .npz or .mat file of one array or several.
      name: of the array that is meant, where there are several. MATLAB's files of version 7.3 need
        the package h5py.

    Returns:
      Real or complex numbers, finite, of any shape.

    Raises:
      UserError: there is no such file, it cannot be read, holds several arrays and none of that
        name, or something else than finite numbers.
    """
    if is_remote(path):
        return read_copy(path, lambda copy: read_array(copy, name))
    try:
        array = _READERS[path.suffix.lower()](path, name)
    except UserError:
        raise
    except KeyError:
        raise UserError(f"{path}: arrays are read from {', '.join(ENDINGS)} files") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    if array.dtype.kind not in "biufc" or array.size == 0:
        raise UserError(f"{path}: is {array.dtype} {array.shape}; it must hold numbers")
    if bad := array.size - np.count_nonzero(np.isfinite(array)):
        raise UserError(f"{path}: has {bad} values that are not finite")
    return array


def _numpy(path: Path, name: str) -> NDArray[Any]:
    held = np.load(path, allow_pickle=False)
    if isinstance(held, np.ndarray):
        return held
    with held:
        return held[_chosen(path, held.files, name)]


def _mat(path: Path, name: str) -> NDArray[Any]:
    import scipy.io

    try:
        held = [each for each, *_ in scipy.io.whosmat(path)]
        return scipy.io.loadmat(path)[_chosen(path, held, name)]
    except NotImplementedError:  # version 7.3, which is HDF5 with the axes the other way round
        return _hdf5(path, name)
    except scipy.io.matlab.MatReadError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _hdf5(path: Path, name: str) -> NDArray[Any]:
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path}: is of version 7.3; install h5py to read it") from None
    with h5py.File(path) as file:
        held = [key for key, value in file.items() if isinstance(value, h5py.Dataset)]
        stored: Any = file[_chosen(path, held, name)]
        array = stored[()].T
    if array.dtype.names == ("real", "imag"):
        array = array["real"] + 1j * array["imag"]
    return array


def _chosen(path: Path, held: Sequence[str], name: str) -> str:
    if name in held:
        return name
    if len(held) != 1:
        names = listed(held) if held else "none"
        raise UserError(f"{path}: must hold one array, or one called {name}; it holds {names}")
    return held[0]


_READERS = {".npy": _numpy, ".npz": _numpy, ".mat": _mat}
