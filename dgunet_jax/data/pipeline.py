"""Batches of crops in an order that a seed and a position determine."""

import dataclasses
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict, TypeVar, overload

import grain
import jax
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.config import DataConfig
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.measurements import Measured
from dgunet_jax.data.sources import Source
from dgunet_jax.data.transforms import (
    change_saturation,
    cut,
    dihedral,
    draw_corner,
    draw_dihedral,
    draw_factor,
    draw_flip_transpose,
    draw_mixup,
    draw_saturation,
    enlarge,
    mix,
    to_luma,
    unit_range,
)
from dgunet_jax.images import luma
from dgunet_jax.operators import size_multiple
from dgunet_jax.system.errors import UserError, one_line

_Element = TypeVar("_Element")


class Batch(TypedDict):
    """Degraded patches `input` and clean ones `target`, (B, patch, patch, 3), or 1 of luma.

    uint8 where `DataConfig.in_bytes`, else float32 in [0, 1].
    """

    input: NDArray[Any]
    target: NDArray[Any]


class MeasuredBatch(Measured):
    """Clean patches `target`, (B, patch, patch, 3), float32 in [0, 1], and what measures them.

    Arrays of the operator, σ and seeds begin with the batch; `measurements.simulate` makes inputs.
    """

    target: NDArray[np.float32]


class Pair(TypedDict):
    """A degraded picture `input`, the clean one `target`, (H, W, 3), and its `name`."""

    input: NDArray[np.float32]
    target: NDArray[np.float32]
    name: str


def training_batches(
    sources: Source | Sequence[Source],
    config: DataConfig,
    *,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Any]:
    """Endless batches of degraded and clean patches.

    Every epoch takes `samples_per_picture` patches of each picture, in another order; batches run
    on across the end of an epoch. What a sample is follows from the seed and its position in the
    whole run alone. So the stream from step n on is bit for bit what it would have been after n
    steps, and the processes of a step together see the samples that a single process would:
    sample i of process p is sample i · process_count + p of the global batch.

    A sample is a random square of a picture or pair, flipped or rotated, its saturation changed if
    that is wanted, and degraded if a `degradation` is given. Where images are mixed, their partners
    come from the global batch; a process makes those that are another's samples once more.

    Of several sources each batch is of one, drawn by the seed and the step; a source's batches are
    those that it would give alone.

    Args:
      sources: clean pictures, or pairs if there is no degradation; one for each of `config.each`,
        or the only one.
      config: what is drawn.
      start_step: the step whose batch comes first.
      process_index: which share of each batch, 0 to process_count − 1.
      process_count: processes that share a batch.

    Returns:
      An iterator of `Batch` of config.batch / process_count patches, of `MeasuredBatch` where the
      degradation is known.

    Raises:
      UserError: at once for an empty source, or one of another kind than the config says, a batch
        the processes cannot share equally, or an argument out of its range; while iterating for a
        picture that cannot be read.
    """
    _check_step(start_step, "start_step")
    if not 0 <= process_index < process_count:
        raise UserError(
            f"process_index is {process_index}; it must be at least 0 and below "
            f"process_count, which is {process_count}"
        )
    if config.batch % process_count:
        raise UserError(
            f"batch is {config.batch}; it must be a multiple of the {process_count} processes"
        )
    own = range(process_index, config.batch, process_count)
    made = [
        _batches(source, each, own)
        for source, (_, each) in zip(_listed(sources), config.each, strict=True)
    ]
    turns = Turns(config)

    def batch(step: int) -> Any:
        place, turn = turns.at(step)
        return made[place](turn)

    # grain's default keeps 500 elements ready, which here are whole batches.
    reading = grain.ReadOptions(num_threads=config.workers, prefetch_buffer_size=2 * config.workers)
    steps = grain.MapDataset.range(start_step, sys.maxsize)
    return iter(steps.map(batch).to_iter_dataset(reading))


def _listed(sources: Source | Sequence[Source]) -> Sequence[Source]:
    return sources if isinstance(sources, Sequence) else [sources]


class Turns:
    """Which source the batch of a step is of.

    Args:
      config: with the weights of its sources.
    """

    _BLOCK = 4096  # steps that are drawn at once

    def __init__(self, config: DataConfig):
        weights = np.array([source.weight for source in config.sources] or [1.0])
        self._weights, self._seed = weights / weights.sum(), config.seed
        self._drawn: list[NDArray[np.int64]] = []  # of each block
        self._before = [np.zeros(len(weights), np.int64)]  # turns of each source before each block
        self._lock = threading.Lock()

    def at(self, step: int) -> tuple[int, int]:
        """Return the source's place, and how many steps before this one were its."""
        if len(self._weights) == 1:
            return 0, step
        block, place = divmod(step, self._BLOCK)
        with self._lock:
            while len(self._drawn) <= block:
                rng = np.random.default_rng([self._seed, len(self._drawn)])
                drawn = rng.choice(len(self._weights), self._BLOCK, p=self._weights)
                counts = np.bincount(drawn, minlength=len(self._weights))
                self._drawn.append(drawn)
                self._before.append(self._before[-1] + counts)
        drawn = self._drawn[block]
        source = int(drawn[place])
        return source, int(self._before[block][source] + (drawn[:place] == source).sum())


def _batches(source: Source, config: DataConfig, own: range) -> Callable[[int], Any]:
    """Return what makes the batch of a step, of the samples `own`."""
    _check_source(source, config)
    _, patch_seed, mixup_seed, chain_seed = _seeds(config)
    degradation = config.simulated
    # Seeded by the position in the whole run. All of a batch are measured by operators of a chain.
    chains = len(degradation.chains) if degradation and degradation.known else 1
    order = _order(source, config)
    of_chains = [
        order.random_map(_Patch(source, config, degradation, chain), seed=patch_seed)
        for chain in range(chains)
    ]

    def batch(step: int) -> Any:
        first = step * config.batch
        chain = int(np.random.default_rng([chain_seed, step]).integers(chains))
        samples = of_chains[chain]
        mixed_from = config.mixup_from_epoch
        if not mixed_from or epoch_of_step(step, len(source), config) < mixed_from:
            return _stacked([_at(samples, first + i) for i in own])
        partners, weights = draw_mixup(config.batch, np.random.default_rng([mixup_seed, step]))
        needed = {i: _at(samples, first + i) for i in {*own, *partners[own].tolist()}}
        return _stacked([_mixed(needed[i], needed[partners[i]], weights[i]) for i in own])

    return batch


def batch_names(sources: Source | Sequence[Source], config: DataConfig, step: int) -> list[str]:
    """Names of the pictures that the global batch of a step, counted from 0, is made of.

    Raises:
      UserError: an empty source, or one of another kind than the config says, or a negative step.
    """
    _check_step(step, "step")
    place, step = Turns(config).at(step)
    source, (_, config) = _listed(sources)[place], config.each[place]
    _check_source(source, config)
    order = _order(source, config)
    positions = range(step * config.batch, (step + 1) * config.batch)
    return [source.name(_at(order, i)) for i in positions]


class HeldOut(Sequence[Pair]):
    """The pairs that are validated on: the first pictures, in the source's order.

    The noise of each picture comes from its own `numpy.random.default_rng(config.seed)`, and what
    else a degradation draws from `default_rng([config.seed, index])`, so a pair does not depend on
    which pictures come after it. Crops are cut out of the
    middle after that; a side that is shorter than the crop stays as it is.

    Pictures are decoded in the background, from now on, and kept as 8 bits; inputs are made when a
    pair is asked for. An element is a `Pair`, float32 in [0, 1] but for the noise; it may be asked
    for from any thread, and raises a UserError if its picture cannot be read.

    Args:
      source: clean pictures, or pairs if `config.degradation` is None.
      config: degradation, crop and limit.

    Raises:
      UserError: an empty source, or one of another kind than the config says.
    """

    def __init__(self, source: Source, config: DataConfig):
        _check_source(source, config)
        self._source, self._config = source, config
        self._degradation = config.simulated
        indices = range(len(source))[: config.validation_limit]
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._images = [self._pool.submit(self._decoded, index) for index in indices]

    def close(self) -> None:
        """Leave what is not decoded yet."""
        self._pool.shutdown(cancel_futures=True)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a pair, known before it is decoded."""
        height, width = self._source.size(index)
        crop = self._config.validation_crop or max(height, width)
        return min(height, crop), min(width, crop)

    def arrays(self, index: int) -> list[NDArray[Any]]:
        """Input and target as they are kept, in 8 bits, or degraded as float32."""
        images = self._images[index].result()
        if self._degradation is None:
            return images
        pair = self._degraded([unit_range(image) for image in images], range(len(self))[index])
        return [_centre(pair[name], self._config.validation_crop) for name in ("input", "target")]

    @property
    def known(self) -> bool:
        """Whether the degradation is known, so that pictures are to be `measured`."""
        return self._degradation is not None and self._degradation.known

    def measured(self, index: int) -> Any:
        """A picture and what it is measured by, or what samples it, as a batch of one.

        Its sides are the largest multiples of what network and operator need. Of a degradation that
        is not known it is a `Batch`, else a `MeasuredBatch`.
        """
        degradation = self._degradation
        assert degradation is not None
        place = range(len(self))[index]
        (image,) = self._images[place].result()
        image = _centre(image, self._config.validation_crop)
        chain = place % len(degradation.chains)

        def draw(shape: tuple[int, ...]) -> Any:
            rng = np.random.default_rng([self._config.seed, place])
            return degradation.measure(shape, rng, chain)

        known = degradation.known
        multiple = math.lcm(32, size_multiple(draw((96, 96, 3))["operator"])) if known else 32
        height, width = (side // multiple * multiple for side in image.shape[:2])
        if not height or not width:
            raise UserError(
                f"{self._source.name(place)}: is {image.shape[1]}×{image.shape[0]} pixels;"
                f" a side must have at least {multiple} to be validated on"
            )
        target = unit_range(image[:height, :width])
        if not known:
            return _stacked([self._degraded([target], place)])
        return _stacked([{"target": target, **draw(target.shape)}])

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        degraded, target = (unit_range(image) for image in self.arrays(index))
        name = self._source.name(range(len(self))[index])
        return {"input": degraded, "target": target, "name": name}

    def _degraded(self, images: list[NDArray[Any]], place: int) -> Batch:
        seed = self._config.seed
        noise, numbers = np.random.default_rng(seed), np.random.default_rng([seed, place])
        return _pair(images, self._degradation, noise, numbers)

    def _decoded(self, index: int) -> list[NDArray[np.uint8]]:
        images = self._source.read(index)
        if self._config.channels == 1:
            images = tuple(luma(image) for image in images)
        if (
            self._config.degradation is not None
        ):  # a crop's noise is part of that of the whole picture
            return list(images)
        return [_centre(image, self._config.validation_crop) for image in images]


@dataclasses.dataclass(frozen=True)
class _Patch(grain.transforms.RandomMap):
    """Makes a sample of the picture or pair of an index."""

    source: Source
    config: DataConfig
    degradation: Degradation | None
    chain: int

    def random_map(self, element: int, rng: np.random.Generator) -> Any:
        size = self.config.patch
        height, width = self.source.size(element)
        side = round(size / draw_factor(self.config.enlarge, rng))
        top, left = draw_corner(height, width, side, rng)
        flip_transpose = self.config.symmetries == "flip_transpose"
        symmetry = draw_flip_transpose(rng) if flip_transpose else draw_dihedral(rng)
        factor = draw_saturation(rng) if self.config.saturation else 1.0
        patches: list[NDArray[Any]] = [
            dihedral(enlarge(cut(image, top, left, side), size), symmetry)
            for image in self.source.read(element)
        ]
        if not self.config.in_bytes:
            patches = [change_saturation(unit_range(patch), factor) for patch in patches]
        if self.config.color != "rgb":
            patches = [to_luma(patch, self.config.color == "studio_luma") for patch in patches]
        if self.degradation and self.degradation.known:
            (target,) = patches
            measured = self.degradation.measure(target.shape, rng, self.chain)
            return {"target": target, **measured}
        return _pair(patches, self.degradation, rng)


def _order(source: Source, config: DataConfig) -> grain.MapDataset:
    """Indices of pictures, by the position of the sample in the whole run."""
    shuffle_seed, *_ = _seeds(config)
    samples = grain.MapDataset.range(samples_per_epoch(len(source), config))
    pictures = len(source)
    return samples.shuffle(seed=shuffle_seed).map(lambda sample: sample % pictures).repeat()


def _at(dataset: grain.MapDataset[_Element], position: int) -> _Element:
    element = dataset[position]
    assert element is not None  # only filters leave elements out
    return element


def _seeds(config: DataConfig) -> list[int]:
    # Seeds of their own instead of grain's, which change with the number of transformations.
    return np.random.SeedSequence(config.seed).generate_state(4).tolist()


def _pair(
    images: list[NDArray[Any]],
    degradation: Degradation | None,
    rng: np.random.Generator,
    numbers: np.random.Generator | None = None,
) -> Batch:
    """The input and the target: the images, or one degraded and as it is."""
    if degradation is None:
        degraded, target = images
    else:
        (target,) = images
        degraded = degradation.apply(target, rng, numbers)
    return {"input": degraded, "target": target}


def _mixed(sample: Any, partner: Any, weight: np.float32) -> Batch:
    return {
        "input": mix(sample["input"], partner["input"], weight),
        "target": mix(sample["target"], partner["target"], weight),
    }


def _stacked(samples: Sequence[Any]) -> Any:
    """The samples as a batch.

    Raises:
      UserError: operators of the samples are not alike.
    """
    try:
        return jax.tree.map(lambda *leaves: np.stack([*map(np.asarray, leaves)]), *samples)
    except ValueError as error:
        raise UserError(
            "the operators of a batch differ in more than their values: arrays must have one shape"
            f" and choices be the same ({one_line(error)})"
        ) from error


def _centre(image: NDArray[Any], size: int | None) -> NDArray[Any]:
    if size is None:
        return image
    top, left = (max(0, side - size) // 2 for side in image.shape[:2])
    # A view would keep the whole picture in memory.
    return image[top : top + size, left : left + size].copy()


def _check_source(source: Source, config: DataConfig) -> None:
    if len(source) == 0:
        raise UserError("the source holds no pictures")
    if source.pairs == (config.degradation is not None):
        held = "pairs" if source.pairs else "clean pictures"
        rule = "only clean pictures are degraded" if source.pairs else "clean pictures need one"
        raise UserError(f"degradation is {config.degradation} and the source holds {held}; {rule}")


def _check_step(step: int, name: str) -> None:
    if step < 0:
        raise UserError(f"{name} is {step}; it must be at least 0")


def samples_per_epoch(pictures: int, config: DataConfig) -> int:
    """Patches that an epoch takes.

    Args:
      pictures: how many pictures or pairs there are, in all sources.
      config: patches of each.
    """
    return pictures * config.samples_per_picture


def epoch_of_step(step: int, pictures: int, config: DataConfig) -> int:
    """The epoch, counted from 1, of the first sample of a step, counted from 0."""
    return 1 + step * config.batch // samples_per_epoch(pictures, config)
