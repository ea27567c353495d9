"""SIDD and DND: photographs with the noise of real sensors, kept in .mat files."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.evaluation.mat_files import (
    read_array,
    read_box,
    read_cells,
    shape_and_type,
    write_variables,
)
from dgunet_jax.evaluation.samples import Degraded, Restored, Sample, to_float
from dgunet_jax.system.errors import UserError, reason

_NOISY, _CLEAN = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"


def find_blocks(folder: Path) -> list[Sample]:
    """A sample for each block, named by picture and block, from 01-01 to 40-32.

    Both arrays are kept in memory: 0.5 GB.

    Args:
      folder: with ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat, arrays of those
        names, uint8 (pictures, blocks, H, W, 3).

    Raises:
      UserError: a file is missing or unreadable, or holds other arrays.
    """
    files = tuple(folder / f"{name}.mat" for name in (_NOISY, _CLEAN))
    noisy, clean = (_blocks(path, path.stem) for path in files)
    if noisy.shape != clean.shape:
        raise UserError(f"{folder}: has noisy blocks {noisy.shape} and clean ones {clean.shape}")
    samples = []
    for i, j in np.ndindex(noisy.shape[:2]):
        name = f"{i + 1:02}-{j + 1:02}"
        read = functools.partial(_degraded, noisy[i, j], clean[i, j])
        places = name, f"{i + 1:04}_{j + 1:02}"
        samples.append(Sample(name, noisy.shape[2:4], files, places, read))
    return samples


def _blocks(path: Path, name: str) -> NDArray[np.uint8]:
    array: NDArray[Any] = read_array(path, name)
    if array.dtype != np.uint8 or array.ndim != 5 or array.shape[4] != 3 or 0 in array.shape:
        raise UserError(
            f"{path}: {name} is {array.dtype} {array.shape}; it must be uint8"
            " (pictures, blocks, H, W, 3)"
        )
    return array


def _degraded(noisy: NDArray[np.uint8], clean: NDArray[np.uint8]) -> Degraded:
    return Degraded(to_float(noisy), np.ascontiguousarray(clean))


_IMAGE = "InoisySRGB"
_CROP, _BUNDLE = "Idenoised_crop", "Idenoised"
_VERSION = "1.0"  # of the submission's format

Box = tuple[tuple[int, int], tuple[int, int]]  # rows and columns: first, and first after it


def find_boxes(folder: Path) -> tuple[list[Sample], list[str]]:
    """A sample for each box, named by picture and box, from 0001_01 to 0050_20.

    Args:
      folder: with info.mat, whose info.boundingboxes has for each picture an array (boxes, 4) of
        first row, first column, last row and last column, counted from 1; and with the pictures,
        images_srgb/0001.mat and so on, InoisySRGB in each, (H, W, 3) in [0, 1].

    Returns:
      The samples; and one line for each picture that is missing, unreadable, or smaller than its
      boxes.

    Raises:
      UserError: info.mat is missing or unreadable, or says nothing of boxes.
    """
    info = folder / "info.mat"
    samples, failures = [], []
    for i, array in enumerate(read_cells(info, "info", "boundingboxes"), 1):
        path = folder / "images_srgb" / f"{i:04}.mat"
        if array.ndim != 2 or array.shape[1] != 4:
            raise UserError(f"{info}: the boxes of picture {i} are {array.shape}; must be (n, 4)")
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise UserError(f"{info}: the boxes of picture {i} are not numbers")
        boxes = [_box(row) for row in array.astype(int).tolist()]
        try:
            _check(path, boxes)
        except UserError as error:
            failures.append(str(error))
            continue
        for k, (rows, columns) in enumerate(boxes, 1):
            name = f"{i:04}_{k:02}"
            read = functools.partial(_read, path, rows, columns)
            size = rows[1] - rows[0], columns[1] - columns[0]
            samples.append(Sample(name, size, (path, info), (name,), read))
    return samples, failures


@dataclasses.dataclass(frozen=True)
class Submission:
    """Denoised boxes in the server's format.

    Each box is kept in crops/ until all boxes of its picture are there; they are then put together
    in bundled/, a file for each picture with `Idenoised` (a cell of single arrays in [0, 1], one
    for each box), `israw` and `eval_version`.

    Attributes:
      folder: where both lie.
    """

    folder: Path

    def complete(self, sample: Sample) -> bool:
        """Whether a box needs not be denoised again."""
        return self._crop(sample.name).exists() or self._bundle(sample.name).exists()

    def judge(self, restored: Restored) -> None:
        """Writes a box; nobody here can score it.

        Raises:
          UserError: it cannot be written.
        """
        path = self._crop(restored.sample.name)
        _make(path.parent)
        write_variables(path, {_CROP: restored.image.astype(np.float32).clip(0, 1)})

    def bundle(self, names: Iterable[str]) -> list[str]:
        """Puts together the boxes of every picture that has all of `names`.

        A box that was denoised again takes its old place.

        Returns:
          The files of bundled/ that are complete.

        Raises:
          UserError: a file cannot be read or written, or holds another number of boxes.
        """
        boxes = defaultdict(list)
        for name in sorted(names):
            boxes[self._bundle(name)].append(name)
        complete = []
        for path, own in boxes.items():
            crops = {i: each for i, name in enumerate(own) if (each := self._crop(name)).exists()}
            if len(crops) == len(own) or (crops and path.exists()):
                cell = np.empty(len(own), object)
                if len(crops) < len(own):
                    cell[:] = _bundled(path, len(own))
                for i, crop in crops.items():
                    cell[i] = read_array(crop, _CROP)
                _make(path.parent)
                write_variables(path, {_BUNDLE: cell, "israw": False, "eval_version": _VERSION})
                for crop in crops.values():
                    crop.unlink()
            if path.exists():
                complete.append(path.name)
        return complete

    def _crop(self, name: str) -> Path:
        return self.folder / "crops" / f"{name}.mat"

    def _bundle(self, name: str) -> Path:
        return self.folder / "bundled" / f"{name.partition('_')[0]}.mat"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {reason(error)}") from error


def _bundled(path: Path, count: int) -> list[NDArray[Any]]:
    """The boxes of a picture from its file in bundled/."""
    boxes = list(read_array(path, _BUNDLE).ravel(order="F"))
    if len(boxes) != count:
        raise UserError(f"{path}: holds {len(boxes)} boxes; the picture has {count}; remove it")
    return boxes


def _box(corners: list[int]) -> Box:
    top, left, bottom, right = corners
    return (top - 1, bottom), (left - 1, right)


def _check(path: Path, boxes: list[Box]) -> None:
    """Raises a UserError unless the picture is one and holds the boxes."""
    shape, dtype = shape_and_type(path, _IMAGE)
    if len(shape) != 3 or shape[2] != 3 or not np.issubdtype(dtype, np.floating):
        raise UserError(f"{path}: {_IMAGE} is {dtype} {shape}; it must be floating (H, W, 3)")
    for rows, columns in boxes:
        inside = 0 <= rows[0] < rows[1] <= shape[0] and 0 <= columns[0] < columns[1] <= shape[1]
        if not inside:
            raise UserError(
                f"{path}: is {shape[1]}×{shape[0]} pixels large and does not hold its box of rows"
                f" {rows[0] + 1} to {rows[1]} and columns {columns[0] + 1} to {columns[1]}"
            )


def _read(path: Path, rows: tuple[int, int], columns: tuple[int, int]) -> Degraded:
    return Degraded(read_box(path, _IMAGE, rows, columns).astype(np.float32), None)
