"""Sources of arrays in memory, and what tests do with batches."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dgunet_jax.data.config import DataConfig
from dgunet_jax.data.pipeline import Batch
from dgunet_jax.images import Picture, write

NOISY = DataConfig(
    "clean",
    "held out",
    degradation="gaussian(25)",
    patch=16,
    batch=4,
    samples_per_picture=1,
    seed=3,
    workers=0,
)
"""Settings for sources of clean pictures."""

PAIRED = DataConfig("pairs", "held out", patch=16, batch=4, seed=3, workers=0)
"""Settings for sources of pairs."""


class Arrays:
    """A source of clean arrays or, with `inputs`, of pairs; its names are the indices."""

    def __init__(self, targets: Sequence[np.ndarray], inputs: Sequence[np.ndarray] | None = None):
        self._images = [targets] if inputs is None else [inputs, targets]
        self.pairs = inputs is not None

    def __len__(self) -> int:
        return len(self._images[0])

    def name(self, index: int) -> str:
        return f"{index}"

    def size(self, index: int) -> tuple[int, int]:
        height, width, _ = self._images[0][index].shape
        return height, width

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(images[index] for images in self._images)


def random_pictures(count: int, height: int = 37, width: int = 31) -> Arrays:
    return Arrays([*_random(count, height, width)])


def random_pairs(count: int, height: int = 37, width: int = 31) -> Arrays:
    """Pairs of which each value of the input is 255 minus that of the target."""
    targets = _random(count, height, width)
    return Arrays([*targets], [*(255 - targets)])


def constant_pictures(count: int) -> Arrays:
    """Pictures whose every value is their index."""
    return Arrays([np.full((20, 20, 3), index, np.uint8) for index in range(count)])


def _random(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


def take(batches: Iterator[Batch], count: int) -> list[Batch]:
    return list(itertools.islice(batches, count))


def joined(batches: Sequence[Batch], key: str) -> np.ndarray:
    return np.concatenate([batch[key] for batch in batches])


def assert_same(actual: Sequence[Batch], expected: Sequence[Batch]):
    for key in ("input", "target"):
        np.testing.assert_array_equal(joined(actual, key), joined(expected, key))


def save(path: Path, height: int = 37, width: int = 31, seed: int = 0) -> Path:
    """Writes a random picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    write(path, Picture(pixels))
    return path
