"""Samples of a data set, and what is made of them."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.folders import files_below
from dgunet_jax.data.transforms import gaussian_noise
from dgunet_jax.images.picture import grey, luma
from dgunet_jax.images.reading import read, read_header, read_rgb
from dgunet_jax.restoration.pipeline import ahead, turns
from dgunet_jax.restoration.plan import Size, pixels
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.memory import available_memory


class Degraded(NamedTuple):
    """What a network takes, float32 (H, W, C), and its target, uint8 of the same shape, or None
    where it is not published.

    For compressive sensing the network takes the clean picture and samples it itself.
    """

    image: NDArray[np.float32]
    target: NDArray[np.uint8] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A picture that can be read.

    Attributes:
      name: what it is reported under.
      size: height and width, pixels.
      files: what it is read from.
      places: what its restored picture may be called below a folder of such, without the ending.
      read: decodes it; may be called in any thread.
    """

    name: str
    size: Size
    files: tuple[Path, ...]
    places: tuple[str, ...]
    read: Callable[[], Degraded]


def read_pair(image: Path, target: Path) -> Degraded:
    return Degraded(to_float(read_rgb(image)), read_rgb(target))


def read_restored(path: Path, channels: int) -> NDArray[np.float32]:
    """RGB, (H, W, 3), or with one channel grey or the full-range luma, (H, W, 1), in [0, 1].

    Pictures of 16 bits keep their depth.

    Raises:
      UserError: as `reading.read`, or the picture has transparent pixels.
    """
    picture = read(path)
    if picture.alpha is not None and picture.alpha.min() < 2**picture.bits - 1:
        raise UserError(f"{path}: has transparent pixels; flatten it onto a background first")
    if channels == 1:
        picture = grey(picture)
    return picture.colours()[..., :channels]


def read_clean(path: Path) -> Degraded:
    """The luma of a picture that a network samples itself."""
    target = luma(read_rgb(path))
    return Degraded(to_float(target), target)


def read_noisy(clean: Path, sigma: float) -> Degraded:
    """A clean picture with noise, not clipped.

    The seed is 0 for each, so a picture has the same noise whichever others there are.
    """
    target = read_rgb(clean)
    rng = np.random.default_rng(0)
    return Degraded(gaussian_noise(to_float(target), sigma, rng), target)


def to_float(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)


# Bytes that a pixel takes from when it is read until it is scored: 27 for input, result and target,
# up to 121 for the measures, in float64, and 27 for each of the six pictures that are shown.
_HELD = 320
_AT_ONCE = 12  # pictures of a turn that are read, or wait to be scored


@dataclasses.dataclass(frozen=True, eq=False)
class Restored:
    """A restored picture, float32 (H, W, C), not clamped, with what it was and should be.

    What it was is the network's input; what it should be is None where that is not published.
    """

    sample: Sample
    image: NDArray[np.float32]
    degraded: NDArray[np.float32]
    target: NDArray[np.uint8] | None

    def check(self) -> None:
        """Raises a UserError unless all values are finite."""
        bad = np.count_nonzero(~np.isfinite(self.image))
        if bad:
            name = self.sample.name
            raise UserError(f"the restored picture of {name} has {bad} values that are not finite")


Result = tuple[Sample, Restored | UserError]


class Source(Protocol):
    """Restores pictures, or knows how they were restored."""

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The files that a picture's scores depend on."""
        ...

    def turns(self, samples: Sequence[Sample]) -> Iterable[Sequence[Sample]]:
        """The pictures in turns, each of which is scored before the next is begun, so that those
        that are in memory at the same time fit into it."""
        ...

    def each(self, samples: Sequence[Sample], say: Callable[[str], None]) -> Iterator[Result]:
        """The restored pictures, in any order; what fails comes as the error.

        Args:
          samples: one of the turns.
          say: is told what takes time, in one line.
        """
        ...


class Network:
    """Pictures restored by a network."""

    def __init__(self, restorer: Restorer):
        self._restorer = restorer
        self._schedule = restorer.schedule([])

    def files(self, sample: Sample) -> tuple[Path, ...]:
        return sample.files

    def turns(self, samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        self._schedule = self._restorer.schedule((sample.size for sample in samples), _HELD)
        fitting, too_large = self._schedule.arrange(samples)
        yield [sample for sample, _ in too_large]
        yield from turns(self._restorer, self._schedule, fitting)

    def each(self, samples: Sequence[Sample], say: Callable[[str], None]) -> Iterator[Result]:
        schedule = self._schedule
        fitting, too_large = schedule.arrange(samples)
        for sample, why in too_large:
            yield sample, UserError(f"{sample.files[0]}: {why}")
        waiting: dict[Sample, Degraded] = {}
        failures: list[Result] = []

        def images() -> Iterator[tuple[Any, NDArray[np.float32]]]:
            for sample, content in ahead(lambda sample: sample.read(), fitting):
                if isinstance(content, UserError):
                    failures.append((sample, content))
                else:
                    waiting[sample] = content
                    yield sample, content.image

        for sample, estimates in self._restorer.each(images(), schedule, False, say):
            degraded, target = waiting.pop(sample)
            yield sample, Restored(sample, estimates[-1], degraded, target)
        yield from failures


class Folder:
    """Pictures that somebody has restored.

    A picture is found by its name, by where its input lies in the data set, or by the two folders
    its input lies in; the ending does not matter.

    Raises:
      UserError: there are no pictures in the folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._pictures: dict[str, list[Path]] = defaultdict(list)
        problems: list[str] = []
        pictures, _ = files_below(folder, problems)
        if not pictures:
            raise UserError(problems[0])
        for path in pictures:  # those that could not be found are missed by name
            self._pictures[path.relative_to(folder).with_suffix("").as_posix()].append(path)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        return *sample.files, *self._paths(sample)[:1]

    def turns(self, samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        free = available_memory()
        most = math.inf if free is None else free / _HELD / _AT_ONCE  # pixels of each
        large = [sample for sample in samples if pixels(sample.size) > most]
        yield [sample for sample in samples if pixels(sample.size) <= most]
        yield from ([sample] for sample in large)

    def each(self, samples: Sequence[Sample], say: Callable[[str], None]) -> Iterator[Result]:
        yield from ahead(self._read, samples)

    def _read(self, sample: Sample) -> Restored:
        paths = self._paths(sample)
        if not paths:
            raise UserError(f"{self._folder}: holds no restored picture of {sample.name}")
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise UserError(f"{self._folder}: holds {names} for {sample.name}")
        header = read_header(paths[0])
        if (header.height, header.width) != sample.size:
            height, width = sample.size
            raise UserError(
                f"{paths[0]}: is {header.width}×{header.height} pixels large; the target is"
                f" {width}×{height}"
            )
        free, needed = available_memory(), _HELD * pixels(sample.size)
        if free is not None and needed > free:
            raise UserError(
                f"{paths[0]}: takes about {needed / 1e9:.2f} GB of memory to be scored,"
                f" {free / 1e9:.2f} GB are free"
            )
        degraded, target = sample.read()
        image = read_restored(paths[0], degraded.shape[2])
        return Restored(sample, image, degraded, target)

    def _paths(self, sample: Sample) -> list[Path]:
        for place in (sample.name, *sample.places):
            if place in self._pictures:
                return self._pictures[place]
        return []
