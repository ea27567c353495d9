"""Where the restored pictures that are scored come from: a network, or a folder."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.folders import pictures_below
from dgunet_jax.errors import UserError
from dgunet_jax.evaluation.samples import Degraded, Sample, read_restored
from dgunet_jax.restoration.files import ahead
from dgunet_jax.restoration.restorer import Restorer


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

    def each(self, samples: Sequence[Sample], say: Callable[[str], None]) -> Iterator[Result]:
        """The restored pictures, in any order; what fails comes as the error.

        Args:
          samples: which.
          say: is told what takes time, in one line.
        """
        ...


class Network:
    """Pictures restored by a network."""

    def __init__(self, restorer: Restorer):
        self._restorer = restorer

    def files(self, sample: Sample) -> tuple[Path, ...]:
        return sample.files

    def each(self, samples: Sequence[Sample], say: Callable[[str], None]) -> Iterator[Result]:
        schedule = self._restorer.schedule(sample.size for sample in samples)
        fitting, too_large = schedule.arrange(samples)
        for sample, why in too_large:
            yield sample, UserError(f"{sample.files[0]}: {why}")
        waiting: dict[Sample, Degraded] = {}
        failures: list[Result] = []

        def images() -> Iterator[tuple[Any, NDArray[np.float32]]]:
            for sample, read in ahead(lambda sample: sample.read(), fitting):
                if isinstance(read, UserError):
                    failures.append((sample, read))
                else:
                    waiting[sample] = read
                    yield sample, read.image

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
        for path in pictures_below(folder):
            self._pictures[path.relative_to(folder).with_suffix("").as_posix()].append(path)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        return *sample.files, *self._paths(sample)[:1]

    def each(self, samples: Sequence[Sample], say: Callable[[str], None]) -> Iterator[Result]:
        yield from ahead(self._read, samples)

    def _read(self, sample: Sample) -> Restored:
        paths = self._paths(sample)
        if not paths:
            raise UserError(f"{self._folder}: holds no restored picture of {sample.name}")
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise UserError(f"{self._folder}: holds {names} for {sample.name}")
        degraded, target = sample.read()
        image = read_restored(paths[0], degraded.shape[2])
        if image.shape != degraded.shape:
            large, small = (f"{x.shape[1]}×{x.shape[0]}" for x in (image, degraded))
            raise UserError(f"{paths[0]}: is {large} pixels large; the target is {small}")
        return Restored(sample, image, degraded, target)

    def _paths(self, sample: Sample) -> list[Path]:
        for place in (sample.name, *sample.places):
            if place in self._pictures:
                return self._pictures[place]
        return []
