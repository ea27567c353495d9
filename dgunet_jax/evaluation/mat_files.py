"""MATLAB's files, of the versions up to 7 and of version 7.3, which is HDF5.

What a file claims is compared with its size before memory is taken. HDF5's ways to point to other
files, and its filters that are loaded from the disk, are refused.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from dgunet_jax.evaluation.mat_sizes import check_claim, check_old
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import replacing

_FILTERS = {1, 2, 3}  # HDF5's own: deflate, shuffle, checksum
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_AT = (0, 512)  # where its signature may lie


def read_array(path: Path, name: str) -> NDArray[Any]:
    """A numeric array, with its axes in MATLAB's order; from a file of an older version than 7.3
    also a cell array.

    Raises:
      UserError: the file cannot be read, or has no such array.
    """
    with _readable(path):
        array = _read_hdf5(path, name) if _is_hdf5(path) else _read_old(path, name)
    if array is None:
        raise UserError(f"{path}: has no array {name}")
    return array


def read_box(
    path: Path, name: str, rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[Any]:
    """A part of an image (H, W, C); of a file of version 7.3 only that part is read.

    Args:
      path: the file.
      name: of the array.
      rows, columns: first, and first after the part, counted from 0.

    Raises:
      UserError: as `read_array`.
    """
    part = slice(*rows), slice(*columns)
    with _readable(path):
        if not _is_hdf5(path):
            image = _read_whole(path, name, path.stat().st_mtime_ns)
            return image[part].copy()
        with h5py.File(path, "r") as file:
            found = _dataset(path, file, name)
            if found is None:
                raise UserError(f"{path}: has no array {name}")
            return np.ascontiguousarray(found[:, part[1], part[0]].T)


def shape_and_type(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Of an array that is not read, its axes in MATLAB's order.

    Raises:
      UserError: as `read_array`.
    """
    with _readable(path):
        if _is_hdf5(path):
            with h5py.File(path, "r") as file:
                if (found := _dataset(path, file, name)) is not None:
                    return found.shape[::-1], found.dtype
        else:
            for each, shape, kind in scipy.io.whosmat(path):
                if each == name:
                    return shape, np.dtype(kind)
    raise UserError(f"{path}: has no array {name}")


def read_cells(path: Path, name: str, field: str) -> list[NDArray[Any]]:
    """The arrays in a cell array that is a field of a struct, in MATLAB's order.

    Raises:
      UserError: the file cannot be read, or has no such field of a struct.
    """
    with _readable(path):
        if not _is_hdf5(path):
            struct = _read_old(path, name)
            if struct is None or field not in (struct.dtype.names or ()):
                raise UserError(f"{path}: has no {name}.{field}")
            return [np.asarray(cell) for cell in struct[field].flat[0].ravel(order="F")]
        with h5py.File(path, "r") as file:
            cells = _dataset(path, file, f"{name}/{field}")
            if cells is None or h5py.check_ref_dtype(cells.dtype) is not h5py.Reference:
                raise UserError(f"{path}: has no {name}.{field}")
            found = [file[each] for each in cells[()].ravel()]
            return [np.asarray(_checked(path, each)).T for each in found]


def write_variables(path: Path, variables: Mapping[str, Any]) -> None:
    """Writes a file of version 5; it never exists half written.

    Raises:
      UserError: it cannot be written.
    """
    with replacing(path) as file:
        scipy.io.savemat(file, dict(variables), do_compression=True)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except Exception as error:  # the libraries raise errors of any type on a damaged file
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        for position in _HDF5_AT:
            file.seek(position)
            if file.read(len(_HDF5)) == _HDF5:
                return True
    return False


def _read_old(path: Path, name: str) -> NDArray[Any] | None:
    check_old(path)
    return scipy.io.loadmat(path, variable_names=[name]).get(name)


@functools.lru_cache(maxsize=1)
def _read_whole(path: Path, name: str, changed: int) -> NDArray[Any]:
    """The array of which parts are asked for one after the other; `changed` is the file's time."""
    return read_array(path, name)


def _read_hdf5(path: Path, name: str) -> NDArray[Any] | None:
    with h5py.File(path, "r") as file:
        found = _dataset(path, file, name)
        # HDF5 has the axes the other way round.
        return None if found is None else np.ascontiguousarray(found[()].T)


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset | None:
    """The dataset of a name, every part of which is in the file itself."""
    group: Any = file
    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path}: {name} is a link, which is not followed")
        group = group[part]
    return _checked(path, group) if isinstance(group, h5py.Dataset) else None


def _checked(path: Path, found: Any) -> h5py.Dataset:
    """A dataset of numbers or references that lies in its file, and is not larger than it can be.

    Raises:
      UserError: it is something else.
    """
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{path}: holds something else than an array where one is expected")
    if found.external or found.is_virtual:
        raise UserError(f"{path}: {found.name} lies in other files, which are not read")
    settings = found.id.get_create_plist()
    filters = {settings.get_filter(i)[0] for i in range(settings.get_nfilters())}
    if not filters <= _FILTERS:
        raise UserError(f"{path}: {found.name} is packed by a filter that is not HDF5's own")
    if found.dtype.kind not in "biuf" and h5py.check_ref_dtype(found.dtype) is not h5py.Reference:
        raise UserError(f"{path}: {found.name} holds {found.dtype}; it must hold numbers")
    stored = min(found.id.get_storage_size(), path.stat().st_size)
    claimed = max(math.prod(found.shape), math.prod(found.chunks or (0,))) * found.dtype.itemsize
    check_claim(path, claimed, stored)
    return found
