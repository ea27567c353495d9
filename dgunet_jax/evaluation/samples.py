"""Samples of a data set, and the methods that restore them: a network, or files of its results."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from numpy.typing import NDArray

from dgunet_jax.checkpoints import Checkpoint, read_aloud
from dgunet_jax.data.folders import files_below
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.images import read_image
from dgunet_jax.metrics import opencv
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.pipeline import ahead, restored, turns
from dgunet_jax.restoration.plan import Schedule
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.restoration.shapes import Size, pixels
from dgunet_jax.system.compilation import Precision, use_cache
from dgunet_jax.system.errors import UserError, printable
from dgunet_jax.system.memory import available_memory
from dgunet_jax.system.provenance import checkpoint_hash, versions

# Bytes that a pixel takes from when it is read until it is scored: 27 for input, result and target,
# up to 186 for the measures, in float64, and 27 for each of the six samples that are shown.
_HELD = 380
_AT_ONCE = 12  # samples of a turn that are read, or wait to be scored


class Measurement(NamedTuple):
    """What a known operator measured of an image, with noise of σ in the image's unit."""

    y: Any
    operator: Any
    sigma: float


class Degraded(NamedTuple):
    """What a network takes, and its target, which is None where it is not published.

    For compressive sensing the network takes the clean image and samples it itself. Where a known
    operator has measured something, `image` is its x₀.
    """

    image: NDArray[np.float32]  # (H, W, C)
    target: NDArray[np.uint8] | None  # the same shape
    measured: Measurement | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """An image that can be read.

    Attributes:
      name: what it is reported under.
      size: height and width, pixels.
      files: what it is read from.
      places: what its restored image may be called in a folder of results, without the ending.
      read: decodes it; may be called in any thread.
    """

    name: str
    size: Size
    files: tuple[Path, ...]
    places: tuple[str, ...]
    read: Callable[[], Degraded]


@dataclasses.dataclass(frozen=True, eq=False)
class RestoredSample:
    """A restored image, float32 (H, W, C), not clamped, with its input and target."""

    sample: Sample
    image: NDArray[np.float32]
    degraded: NDArray[np.float32]
    target: NDArray[np.uint8] | None


Result = tuple[Sample, RestoredSample | UserError]
Turns = Iterator[Iterator[Result]]


class Network:
    """Restores samples by a network.

    Args:
      restorer: of the network.
      tile: side of tiles in which each is restored, see `Protocol`; None: whole.
    """

    def __init__(self, restorer: Restorer, tile: int | None = None):
        self._restorer, self._tile = restorer, tile

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """Return the files that a sample's scores depend on."""
        return sample.files

    def turns(self, samples: Sequence[Sample], announce: Callable[[str], None]) -> Turns:
        """Yield the results in turns, in any order; what fails comes as the error.

        What is in memory during a turn fits into it, so each must be used up before the next one.
        `announce` is called with one line of text before something that takes time.
        """
        config = self._restorer.planner.config
        if self._tile is not None:
            yield (self._in_tiles(sample, self._tile, announce) for sample in samples)
            return
        if config.takes_operator:
            yield map(self._measured, samples)
            return
        schedule = self._restorer.schedule((sample.size for sample in samples), _HELD)
        fitting, too_large = schedule.arrange(samples)
        yield ((each, UserError(f"{each.files[0]}: {why}")) for each, why in too_large)
        for turn in turns(self._restorer, schedule, fitting):
            yield self._results(turn, schedule, announce)

    def _results(
        self, turn: Sequence[Sample], schedule: Schedule, announce: Callable[[str], None]
    ) -> Iterator[Result]:
        def read(sample: Sample) -> tuple[NDArray[np.float32], Degraded]:
            degraded = sample.read()
            return degraded.image, degraded

        for sample, found in restored(self._restorer, schedule, turn, read, say=announce):
            if isinstance(found, UserError):
                yield sample, found
            else:
                (degraded, target, _), estimates = found
                yield sample, RestoredSample(sample, estimates[-1], degraded, target)

    def _measured(self, sample: Sample) -> Result:
        """Restore a sample from what a known operator measured of it."""
        try:
            degraded = sample.read()
            assert degraded.measured is not None  # as `Method.check` has it
            y, operator, sigma = degraded.measured
            noise = sigma if self._restorer.planner.config.noise_input else None
            image = self._restorer.measured(y, operator, noise)
        except UserError as error:
            return sample, UserError(f"{sample.files[0]}: {error}")
        return sample, RestoredSample(sample, image, degraded.image, degraded.target)

    def _in_tiles(self, sample: Sample, tile: int, announce: Callable[[str], None]) -> Result:
        """Restore a sample in tiles that know nothing of each other."""
        try:
            degraded, target, _ = sample.read()
            height, width, channels = degraded.shape
            rows, columns = (side // tile + 1 for side in (height, width))
            padded = np.zeros((rows * tile, columns * tile, channels), np.float32)
            padded[:height, :width] = degraded
            tiles = padded.reshape(rows, tile, columns, tile, channels).swapaxes(1, 2)
            tiles = tiles.reshape(-1, tile, tile, channels)
            schedule = self._restorer.schedule([(tile, tile)] * len(tiles))
            found = dict(self._restorer.each(enumerate(tiles), schedule, announce=announce))
        except UserError as error:
            return sample, error
        image = np.stack([found[i][-1] for i in range(len(tiles))])
        image = image.reshape(rows, columns, tile, tile, channels).swapaxes(1, 2)
        image = image.reshape(padded.shape)[:height, :width]
        return sample, RestoredSample(sample, image, degraded, target)


class Folder:
    """Reads restored images from a folder; its methods are those of `Network`.

    An image is found by its sample's name, by where its input lies in the data set, or by the two
    folders its input lies in. The ending does not matter.

    Raises:
      UserError: there are no images in the folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._images: dict[str, list[Path]] = defaultdict(list)
        problems: list[str] = []
        found, _ = files_below(folder, problems)
        if not found:
            raise UserError(problems[0])
        for path in found:  # a folder that cannot be read shows as images that are missing
            self._images[path.relative_to(folder).with_suffix("").as_posix()].append(path)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        return *sample.files, *self._paths(sample)[:1]

    def turns(self, samples: Sequence[Sample], announce: Callable[[str], None]) -> Turns:
        most = (available_memory() or float("inf")) / _HELD / _AT_ONCE  # pixels of each
        yield ahead(self._read, (each for each in samples if pixels(each.size) <= most))
        for sample in samples:
            if pixels(sample.size) > most:
                yield ahead(self._read, [sample])

    def _read(self, sample: Sample) -> RestoredSample:
        paths = self._paths(sample)
        if not paths:
            raise UserError(f"{self._folder}: holds no restored picture of {sample.name}")
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise UserError(f"{self._folder}: holds {names} for {sample.name}")
        degraded, target, _ = sample.read()
        image = read_image(paths[0], degraded.shape[2])
        if image.shape != degraded.shape:
            sizes = [f"{each.shape[1]}×{each.shape[0]}" for each in (image, degraded)]
            raise UserError(f"{paths[0]}: is {sizes[0]} pixels large; the target is {sizes[1]}")
        return RestoredSample(sample, image, degraded, target)

    def _paths(self, sample: Sample) -> list[Path]:
        places = (sample.name, *sample.places)
        return next((self._images[place] for place in places if place in self._images), [])


Source = Network | Folder


@dataclasses.dataclass(frozen=True)
class Method:
    """What restores the samples: a checkpoint, or a folder of restored images.

    Attributes:
      path: the checkpoint, or the folder.
      is_checkpoint: which of the two; the rest is for checkpoints.
      num_stages, weights, tile, mesh, window, dtype, precision, memory: as `checkpoints.load` and
        `Restorer` take them; without a mesh, all devices take different images.
      self_ensemble: None: as the protocol has it.
      cache: whether compiled programs are kept for the next start.
    """

    path: Path
    is_checkpoint: bool = True
    num_stages: int | None = None
    weights: str | None = None
    self_ensemble: bool | None = None
    tile: int | Literal["auto"] | None = None
    mesh: Mesh | None = None
    window: int = 0
    dtype: str | None = None
    precision: Precision = "highest"
    memory: int | None = None
    cache: bool = True

    @property
    def label(self) -> str:
        """What the results are called."""
        return printable(self.path.name or self.path)

    def below(self, folder: str) -> "Method":
        """Return the method for one data set of several."""
        return self if self.is_checkpoint else dataclasses.replace(self, path=self.path / folder)

    def check(self, protocol: Protocol) -> None:
        """Raise a UserError unless the protocol can be followed with this method."""
        if protocol.measure == "aligned":
            opencv()
        if not self.is_checkpoint:
            return
        config = self._checkpoint.model.config
        if config.takes_operator != protocol.is_known:
            takes = "is told" if config.takes_operator else "has learned"
            needs = "known" if protocol.is_known else "not known"
            raise UserError(
                f"{self.path}: {takes} what degrades pictures; that of {protocol.name} is {needs}"
            )
        if config.measurements != protocol.measurements:
            takes, needs = (
                f"{m} measurements of each block" if m else "pictures that are not sampled"
                for m in (config.measurements, protocol.measurements)
            )
            raise UserError(f"{self.path}: takes {takes}; {protocol.title} is {needs}")
        if config.channels != protocol.channels:
            takes = f"takes images of {config.channels} channels"
            raise UserError(f"{self.path}: {takes}; {protocol.title} has {protocol.channels}")
        if config.multiple != protocol.padding:
            takes = f"pads pictures to multiples of {config.multiple}"
            needs = f"padded to multiples of {protocol.padding}"
            raise UserError(f"{self.path}: {takes}; {protocol.title} is {needs}")

    def network(self) -> tuple[DGUNet, Mapping[str, Any]]:
        """Return the network of a checkpoint and its variables.

        Raises:
          UserError: the checkpoint cannot be read.
        """
        return self._checkpoint.model, self._checkpoint.variables

    def source(self, protocol: Protocol) -> Source:
        """Return what restores the samples of a protocol that `check` accepts.

        Raises:
          UserError: the checkpoint cannot be read, or the folder holds no images.
        """
        if not self.is_checkpoint:
            return Folder(self.path)
        restorer = Restorer(
            self._checkpoint.model,
            self._checkpoint.variables,
            self_ensemble=self._ensemble(protocol),
            tile=self.tile,
            mesh=self.mesh if protocol.is_known else self._mesh,
            window=self.window,
            dtype=self.dtype,
            precision=self.precision,
            memory=self.memory,
        )
        return Network(restorer, protocol.tile)

    def identity(self, protocol: Protocol | None = None) -> dict[str, Any]:
        """Return what the scores depend on, as JSON values; without a protocol, of all of them.

        Raises:
          UserError: the checkpoint cannot be read.
        """
        if not self.is_checkpoint:
            return {"restored": str(self.path.resolve())}
        read = self._checkpoint
        return {
            "checkpoint_sha256": self._sha256,
            **({"weights": read.weights} if read.weights else {}),
            "num_stages": read.model.config.num_stages,
            **({"stages_assumed": True} if read.stages_assumed else {}),
            "self_ensemble": self.self_ensemble if protocol is None else self._ensemble(protocol),
            "tile": self.tile,
            **({"window": self.window} if self.window else {}),
            "dtype": self.dtype,
            **({} if self.precision == "highest" else {"precision": self.precision}),
        }

    def provenance(self) -> dict[str, Any]:
        """Return what the scores hardly depend on, as JSON values: versions and devices."""
        if not self.is_checkpoint:
            return {"checkpoint": None, "versions": versions(), "devices": []}
        devices = jax.local_devices()[:1] if self._mesh is None else self._mesh.devices.flat
        names = [str(device) for device in devices]
        return {"checkpoint": str(self.path), "versions": versions(), "devices": names}

    @functools.cached_property
    def _checkpoint(self) -> Checkpoint:
        """The checkpoint, read once however many data sets there are."""
        use_cache(self.cache)
        return read_aloud(self.path, self.num_stages, self.weights)

    @functools.cached_property
    def _sha256(self) -> str:
        return checkpoint_hash(self._checkpoint.path, self._checkpoint.variables)

    @functools.cached_property
    def _mesh(self) -> Mesh | None:
        """The devices that restore; None: one alone."""
        devices = jax.local_devices()
        count = len(devices)
        if self.mesh is not None or count == 1:
            return self.mesh
        return jax.make_mesh((count,), ("batch",), axis_types=(AxisType.Auto,), devices=devices)

    def _ensemble(self, protocol: Protocol) -> bool:
        return protocol.self_ensemble if self.self_ensemble is None else self.self_ensemble
