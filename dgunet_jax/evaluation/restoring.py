"""Who restores the pictures that are scored."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from jax.sharding import AxisType, Mesh

from dgunet_jax.checkpoints import read_aloud
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.samples import Folder, Network, Source
from dgunet_jax.metrics._alignment import opencv
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.system.compilation import Precision, use_cache
from dgunet_jax.system.errors import UserError, printable
from dgunet_jax.system.provenance import checkpoint_hash, versions


@dataclasses.dataclass(frozen=True)
class Restoring:
    """A checkpoint, or somebody who has restored the pictures already.

    Attributes:
      checkpoint: what `checkpoints.load` reads; or else
      restored: a folder of restored pictures.
      num_stages, weights, tile, mesh, dtype, precision, memory: as `load` and `Restorer` take
        them; without a mesh, all devices there are take different pictures.
      self_ensemble: None: as the protocol has it.
      cache: whether compiled programs are kept for the next start.

    Raises:
      UserError: neither is given.
    """

    checkpoint: Path | None = None
    restored: Path | None = None
    num_stages: int | None = None
    weights: str | None = None
    self_ensemble: bool | None = None
    tile: int | Literal["auto"] | None = None
    mesh: Mesh | None = None
    dtype: str | None = None
    precision: Precision = "highest"
    memory: int | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        if self.checkpoint is None and self.restored is None:
            raise UserError("neither a checkpoint nor restored pictures are given")

    def below(self, folder: str) -> "Restoring":
        """The same for a folder of the restored pictures."""
        if self.restored is None:
            return self
        return dataclasses.replace(self, restored=self.restored / folder)

    def check(self, protocol: Protocol) -> None:
        """Raises a UserError if pictures cannot be restored for a protocol, or not be scored."""
        if protocol.measure == "aligned":
            opencv()
        if self._network is not None:
            assert self.checkpoint is not None
            _check_task(self.checkpoint, self._network.model.config, protocol)

    def source(self, protocol: Protocol) -> Source:
        """The source of restored pictures.

        Raises:
          UserError: the checkpoint cannot be used for the protocol, or there are no pictures.
        """
        self.check(protocol)
        if self._network is None:
            assert self.restored is not None
            return Folder(self.restored)
        restorer = Restorer(
            self._network.model,
            self._network.variables,
            self_ensemble=self._ensemble(protocol),
            tile=self.tile,
            mesh=self._mesh,
            dtype=self.dtype,
            precision=self.precision,
            memory=self.memory,
        )
        return Network(restorer)

    def identity(self, protocol: Protocol | None = None) -> dict[str, Any]:
        """What the scores depend on; JSON values. Without a protocol, for all that there are.

        Raises:
          UserError: the checkpoint cannot be read.
        """
        if self._network is None:
            assert self.restored is not None
            return {"restored": str(self.restored.resolve())}
        weights = self._network.weights
        return {
            "checkpoint_sha256": self._network.sha256,
            **({"weights": weights} if weights else {}),
            "num_stages": self._network.model.config.num_stages,
            **({"stages_assumed": True} if self._network.stages_assumed else {}),
            "self_ensemble": self.self_ensemble if protocol is None else self._ensemble(protocol),
            "tile": self.tile,
            "dtype": self.dtype,
            **({} if self.precision == "highest" else {"precision": self.precision}),
        }

    def provenance(self) -> dict[str, Any]:
        """What else is worth to be known of the scores; JSON values."""
        mesh, one = self._mesh, jax.devices()[:1] if self.checkpoint is not None else []
        return {
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "versions": versions(),
            "devices": [str(device) for device in (one if mesh is None else mesh.devices.flat)],
        }

    def label(self) -> str:
        """What the results are called."""
        path = self.checkpoint or self.restored
        return "" if path is None else printable(path.name or path)

    @functools.cached_property
    def _network(self) -> "_Loaded | None":
        """The checkpoint, read once however many data sets there are."""
        if self.checkpoint is None:
            return None
        use_cache(self.cache)
        read = read_aloud(self.checkpoint, self.num_stages, self.weights)
        sha256 = checkpoint_hash(self.checkpoint, read.variables)
        return _Loaded(read.model, read.variables, sha256, read.weights, read.stages_assumed)

    @functools.cached_property
    def _mesh(self) -> Mesh | None:
        """The devices that restore; None: one, or nobody does."""
        if self.mesh is not None or self.checkpoint is None:
            return self.mesh
        count = len(jax.devices())
        if count == 1:
            return None
        return jax.make_mesh((count,), ("batch",), axis_types=(AxisType.Auto,))

    def _ensemble(self, protocol: Protocol) -> bool:
        return protocol.self_ensemble if self.self_ensemble is None else self.self_ensemble


class _Loaded(NamedTuple):
    """A checkpoint's network, its variables, its hash, and how it was read."""

    model: DGUNet
    variables: dict[str, Any]
    sha256: str
    weights: str
    stages_assumed: bool


def _check_task(checkpoint: Path, config: DGUNetConfig, protocol: Protocol) -> None:
    """Raises a UserError unless a network is one for a protocol."""
    if config.measurements != protocol.measurements:
        takes, needs = (
            f"{m} measurements of each block" if m else "pictures that are not sampled"
            for m in (config.measurements, protocol.measurements)
        )
        raise UserError(f"{checkpoint}: takes {takes}; {protocol.title} is {needs}")
    if config.channels != protocol.channels:
        raise UserError(
            f"{checkpoint}: takes images of {config.channels} channels; {protocol.title} has"
            f" {protocol.channels}"
        )
    if config.multiple != protocol.padding:
        raise UserError(
            f"{checkpoint}: pads pictures to multiples of {config.multiple}; {protocol.title} is"
            f" padded to multiples of {protocol.padding}"
        )
