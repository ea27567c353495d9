"""SIDD and DND: photographs with the noise of real sensors, kept in MATLAB's files.

SIDD's are of version 5, which SciPy reads; DND's of version 7.3, which is HDF5 and has the axes the
other way round.
"""

import contextlib
import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation.samples import Degraded, RestoredSample, Sample
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import replacing
from dgunet_jax.system.memory import total_memory

if TYPE_CHECKING:
    import h5py

_NOISY, _CLEAN = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"  # SIDD's files and arrays
_IMAGE, _BOXES = "InoisySRGB", "info/boundingboxes"  # DND's
_CROP, _BUNDLE = "Idenoised_crop", "Idenoised"  # of submissions to DND's server
_VERSION = "1.0"  # of the submission's format

Range = tuple[int, int]  # the first row or column, and the first after it


def find_blocks(folder: Path) -> list[Sample]:
    """Return SIDD's samples: one for each block, named by image and block, from 01-01 to 40-32.

    Both arrays are kept in memory: 0.5 GB.

    Args:
      folder: with ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat, arrays of those
        names, uint8 (images, blocks, H, W, 3).

    Raises:
      UserError: a file is missing or unreadable, or holds other arrays.
    """
    files = folder / f"{_NOISY}.mat", folder / f"{_CLEAN}.mat"
    noisy, clean = read_blocks(folder)
    samples = []
    for i, j in np.ndindex(noisy.shape[:2]):
        name = block_name(i, j)
        places = name, f"{i + 1:04}_{j + 1:02}"
        read = functools.partial(_read_block, noisy[i, j], clean[i, j])
        samples.append(Sample(name, noisy.shape[2:4], files, places, read))
    return samples


def read_blocks(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return SIDD's noisy and clean blocks, as `find_blocks` takes and raises."""
    noisy, clean = (_read_blocks(folder / f"{name}.mat") for name in (_NOISY, _CLEAN))
    if noisy.shape != clean.shape:
        raise UserError(f"{folder}: has noisy blocks {noisy.shape} and clean ones {clean.shape}")
    return noisy, clean


def block_name(image: int, block: int) -> str:
    """Return the name of a block; both are counted from 0."""
    return f"{image + 1:02}-{block + 1:02}"


def _read_blocks(path: Path) -> NDArray[np.uint8]:
    with _readable(path):
        found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
        if path.stem not in found:
            raise UserError(f"{path}: has no array {path.stem}")
        shape, kind = found[path.stem]
        if kind != "uint8" or len(shape) != 5 or shape[4] != 3 or 0 in shape:
            raise UserError(
                f"{path}: {path.stem} is {kind} {shape}; it must be uint8 (pictures, blocks, H, W,"
                " 3)"
            )
    _check_claim(path, shape, 1)
    return _load(path, path.stem)


def _read_block(noisy: NDArray[np.uint8], clean: NDArray[np.uint8]) -> Degraded:
    return Degraded(unit_range(noisy), np.ascontiguousarray(clean))


def find_boxes(folder: Path) -> tuple[list[Sample], list[str]]:
    """Return DND's samples: one for each box, named by image and box, from 0001_01 to 0050_20.

    Args:
      folder: with info.mat, whose info.boundingboxes has for each image an array (boxes, 4) of
        first row, first column, last row and last column, counted from 1; and with the images,
        images_srgb/0001.mat and so on, InoisySRGB in each, (H, W, 3) in [0, 1].

    Returns:
      The samples; and one line for each image that is missing, unreadable, or smaller than its
      boxes.

    Raises:
      UserError: info.mat is missing or unreadable, or does not hold boxes.
    """
    info = folder / "info.mat"
    samples, failures = [], []
    for i, array in enumerate(_read_info(info), 1):
        path = folder / "images_srgb" / f"{i:04}.mat"
        numbers = array.dtype.kind in "iuf" and np.isfinite(array).all()
        if array.ndim != 2 or array.shape[1] != 4 or not numbers:
            raise UserError(f"{info}: the boxes of picture {i} must be finite numbers (n, 4)")
        boxes = [((a - 1, c), (b - 1, d)) for a, b, c, d in array.astype(int).tolist()]
        try:
            _check_boxes(path, boxes)
        except UserError as error:
            failures.append(str(error))
            continue
        for k, (rows, columns) in enumerate(boxes, 1):
            name = f"{i:04}_{k:02}"
            size = rows[1] - rows[0], columns[1] - columns[0]
            read = functools.partial(_read_box, path, rows, columns)
            samples.append(Sample(name, size, (path, info), (name,), read))
    return samples, failures


def _read_info(path: Path) -> list[NDArray[Any]]:
    """Return the boxes of each image, from a cell array."""
    import h5py

    with _readable(path), h5py.File(path) as file:
        cells = _dataset(path, file.get(_BOXES), _BOXES)
        if not h5py.check_ref_dtype(cells.dtype):
            raise UserError(f"{path}: {_BOXES} is not a cell array")
        return [_dataset(path, file[each], _BOXES)[()].T for each in cells[()].ravel()]


def _check_boxes(path: Path, boxes: list[tuple[Range, Range]]) -> None:
    """Raise a UserError unless the file holds an image, and that its boxes."""
    import h5py

    with _readable(path), h5py.File(path) as file:
        image = _dataset(path, file.get(_IMAGE), _IMAGE)
        shape = image.shape[::-1]
        if len(shape) != 3 or shape[2] != 3 or image.dtype.kind != "f":
            raise UserError(
                f"{path}: {_IMAGE} is {image.dtype} {shape}; it must be floating (H, W, 3)"
            )
    for rows, columns in boxes:
        inside = 0 <= rows[0] < rows[1] <= shape[0] and 0 <= columns[0] < columns[1] <= shape[1]
        if not inside:
            raise UserError(
                f"{path}: is {shape[1]}×{shape[0]} pixels large and does not hold its box of rows"
                f" {rows[0] + 1} to {rows[1]} and columns {columns[0] + 1} to {columns[1]}"
            )


def _dataset(path: Path, found: Any, name: str) -> "h5py.Dataset":
    """Return an array of an HDF5 file that lies in the file itself and fits into memory."""
    import h5py

    if (
        not isinstance(found, h5py.Dataset)
        or found.file.filename != str(path)
        or found.external
        or found.is_virtual
    ):
        raise UserError(f"{path}: has no array {name}")
    _check_claim(path, found.shape, found.dtype.itemsize)
    return found


def _read_box(path: Path, rows: Range, columns: Range) -> Degraded:
    import h5py

    with _readable(path), h5py.File(path) as file:
        image = _dataset(path, file.get(_IMAGE), _IMAGE)
        box = image[:, slice(*columns), slice(*rows)].T
    return Degraded(np.ascontiguousarray(box, np.float32), None)


@dataclasses.dataclass(frozen=True)
class Submission:
    """Denoised boxes in the format of DND's server.

    Each box is kept in crops/ until all boxes of its image are there. They are then put together in
    bundled/, a file for each image with `Idenoised` (a cell of single arrays in [0, 1], one for
    each box), `israw` and `eval_version`.

    Attributes:
      folder: where both lie.
    """

    folder: Path

    def holds(self, sample: Sample) -> bool:
        """Return whether a box needs not be denoised again."""
        return self._crop(sample.name).exists() or self._bundle(sample.name).exists()

    def add(self, restored: RestoredSample) -> None:
        """Write a box.

        Raises:
          UserError: it cannot be written.
        """
        crop = restored.image.astype(np.float32).clip(0, 1)
        _save(self._crop(restored.sample.name), {_CROP: crop})

    def bundle(self, names: Iterable[str]) -> list[str]:
        """Put together the boxes of every image that has all of `names`.

        A box that was denoised again takes its old place.

        Returns:
          The files of bundled/ that are complete.

        Raises:
          UserError: a file cannot be read or written, or holds another number of boxes.
        """
        boxes = defaultdict(list)
        for name in sorted(names):
            boxes[self._bundle(name)].append(name)
        for path, own in boxes.items():
            crops = {i: each for i, name in enumerate(own) if (each := self._crop(name)).exists()}
            if len(crops) == len(own) or (crops and path.exists()):
                cell = np.empty(len(own), object)
                if len(crops) < len(own):
                    cell[:] = _read_bundle(path, len(own))
                for i, crop in crops.items():
                    cell[i] = _load(crop, _CROP)
                _save(path, {_BUNDLE: cell, "israw": False, "eval_version": _VERSION})
                for crop in crops.values():
                    crop.unlink()
        return [path.name for path in boxes if path.exists()]

    def _crop(self, name: str) -> Path:
        return self.folder / "crops" / f"{name}.mat"

    def _bundle(self, name: str) -> Path:
        return self.folder / "bundled" / f"{name.partition('_')[0]}.mat"


def _read_bundle(path: Path, count: int) -> list[NDArray[Any]]:
    """Return the boxes of an image from its file in bundled/."""
    boxes = list(_load(path, _BUNDLE).ravel(order="F"))
    if len(boxes) != count:
        raise UserError(f"{path}: holds {len(boxes)} boxes; the picture has {count}; remove it")
    return boxes


def _load(path: Path, name: str) -> NDArray[Any]:
    with _readable(path):
        return scipy.io.loadmat(path, variable_names=[name])[name]


def _save(path: Path, variables: Mapping[str, Any]) -> None:
    """Write a file of version 5, and the folder it is in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written: {reason(error)}") from error
    with replacing(path) as file:
        scipy.io.savemat(file, dict(variables), do_compression=True)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever is raised on a damaged file into a UserError."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the libraries raise errors of any type
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _check_claim(path: Path, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise a UserError if an array would take more memory than the machine has."""
    claimed, memory = math.prod(shape) * itemsize, total_memory()
    if memory is not None and claimed > memory:
        raise UserError(f"{path}: an array in it takes {claimed} bytes of memory; it is {memory}")
