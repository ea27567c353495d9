"""The validation blocks of SIDD."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.evaluation.mat_files import read_array
from dgunet_jax.evaluation.samples import Degraded, Sample, to_float
from dgunet_jax.system.errors import UserError

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
