"""From a source of clean pictures to the batches a training step takes and the pairs of validation.

Importing this module imports grain.
"""

import dataclasses
from collections.abc import Iterator
from typing import TypedDict

import grain
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.augmentation import dihedral, draw_dihedral, random_crop
from dgunet_jax.data.degradations import check_sigma, gaussian_noise
from dgunet_jax.data.sources import Picture, Source
from dgunet_jax.errors import UserError


class Batch(TypedDict):
    """Degraded patches `input` and clean ones `target`, float32 (B, patch, patch, 3)."""

    input: NDArray[np.float32]
    target: NDArray[np.float32]


class Pair(TypedDict):
    """A degraded picture `input`, the clean one `target`, float32 (H, W, 3), and its `name`."""

    input: NDArray[np.float32]
    target: NDArray[np.float32]
    name: str


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """How training batches are made.

    Attributes:
      patch: side of the square patches, pixels.
      batch: patches of a step, over all processes.
      sigma: standard deviation of the noise on the [0, 255] scale.
      seed: of order, crops, flips and noise; 0 to 2³² − 1.
      workers: threads that prepare batches ahead of time; 0 prepares each when it is asked for.
        The batches do not depend on it.

    Raises:
      UserError: a value out of its range.
    """

    patch: int = 128
    batch: int = 16
    sigma: float = 25.0
    seed: int = 0
    workers: int = 1

    def __post_init__(self):
        for name, least in {"patch": 1, "batch": 1, "seed": 0, "workers": 0}.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.seed >= 2**32:
            raise UserError(f"seed is {self.seed}; it must be below 2**32")
        check_sigma(self.sigma)


@dataclasses.dataclass(frozen=True)
class _NoisyPatch(grain.transforms.RandomMap):
    """A random patch of a picture, flipped or rotated, with noise added."""

    patch: int
    sigma: float

    def random_map(self, element: Picture, rng: np.random.Generator) -> Batch:
        (clean,) = random_crop([element["image"]], self.patch, rng)
        target = _unit_range(dihedral(clean, draw_dihedral(rng)))
        return {"input": gaussian_noise(target, self.sigma, rng), "target": target}


def training_batches(
    source: Source,
    config: PipelineConfig,
    *,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless batches of noisy and clean patches.

    Every epoch goes once through the pictures, in another order, and takes one patch of each;
    batches run on across the end of an epoch. What a sample is follows from the seed and its
    position in the whole run alone. So the stream from step n on is bit for bit what it would
    have been after n steps, and the processes of a step together see the samples that a single
    process would: sample i of process p is sample i · process_count + p of the global batch.

    Args:
      source: clean pictures.
      config: patch, batch, noise and seed.
      start_step: the step whose batch comes first.
      process_index: which share of each batch, 0 to process_count − 1.
      process_count: processes that share a batch.

    Returns:
      An iterator of batches of config.batch / process_count patches.

    Raises:
      UserError: at once for an empty source, a batch the processes cannot share equally, or an
        argument out of its range; while iterating for a picture that cannot be read.
    """
    _check_not_empty(source)
    if start_step < 0:
        raise UserError(f"start_step is {start_step}; it must be at least 0")
    if not 0 <= process_index < process_count:
        raise UserError(
            f"process_index is {process_index}; it must be at least 0 and below "
            f"process_count, which is {process_count}"
        )
    if config.batch % process_count:
        raise UserError(
            f"batch is {config.batch}; it must be a multiple of the {process_count} processes"
        )
    # Seeds of their own instead of grain's, which change with the number of transformations.
    shuffle_seed, patch_seed = np.random.SeedSequence(config.seed).generate_state(2).tolist()
    samples = (
        grain.MapDataset.source(source)
        .shuffle(seed=shuffle_seed)
        .repeat()
        .random_map(_NoisyPatch(config.patch, config.sigma), seed=patch_seed)
    )
    # Slicing after random_map: its generator is seeded by the position in the whole run.
    share = samples[process_index::process_count]
    batches = share.batch(config.batch // process_count, drop_remainder=True)[start_step:]
    # grain's default keeps 500 elements ready, which here are whole batches.
    reading = grain.ReadOptions(num_threads=config.workers, prefetch_buffer_size=2 * config.workers)
    return iter(batches.to_iter_dataset(reading))


def whole_pictures(source: Source, sigma: float, seed: int) -> Iterator[Pair]:
    """Pairs for validating Gaussian denoising: every picture whole, in the source's order.

    The noise of each picture comes from its own `numpy.random.default_rng(seed)` and is not
    clipped, so a pair does not depend on which other pictures there are.

    Args:
      source: clean pictures.
      sigma: standard deviation of the noise on the [0, 255] scale.
      seed: of the noise, at least 0.

    Returns:
      An iterator of as many pairs as the source has pictures, decoded one by one.

    Raises:
      UserError: at once for an empty source, a bad sigma or seed; while iterating for a picture
        that cannot be read.
    """
    _check_not_empty(source)
    check_sigma(sigma)
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be at least 0")
    return (_whole_pair(source[index], sigma, seed) for index in range(len(source)))


def _whole_pair(picture: Picture, sigma: float, seed: int) -> Pair:
    target = _unit_range(picture["image"])
    noisy = gaussian_noise(target, sigma, np.random.default_rng(seed))
    return {"input": noisy, "target": target, "name": picture["name"]}


def _unit_range(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)


def _check_not_empty(source: Source) -> None:
    if len(source) == 0:
        raise UserError("the source holds no pictures")
