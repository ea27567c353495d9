"""A data set's table: find the pictures, restore and score them, write the results."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import jax
from jax.sharding import AxisType, Mesh

from dgunet_jax._version import __version__
from dgunet_jax.checkpoints import load
from dgunet_jax.compilation import use_cache
from dgunet_jax.errors import UserError
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.dnd import Submission
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.report import write_report
from dgunet_jax.evaluation.restored import Folder, Network, Source
from dgunet_jax.evaluation.results import Evaluation
from dgunet_jax.evaluation.scoring import Comparison, score
from dgunet_jax.evaluation.showcase import MOST, extremes
from dgunet_jax.lock import locked
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.provenance import checkpoint_hash, versions
from dgunet_jax.restoration.restorer import Restorer


@dataclasses.dataclass(frozen=True)
class Restoring:
    """Who restores the pictures: a checkpoint, or somebody who has done it already.

    Attributes:
      checkpoint: what `checkpoints.load` reads; or else
      restored: a folder of restored pictures.
      num_stages, tile, mesh, dtype, memory: as `load` and `Restorer` take them; without a mesh, all
        devices there are take different pictures.
      self_ensemble: None: as the protocol has it.
      cache: whether compiled programs are kept for the next start.
    """

    checkpoint: Path | None = None
    restored: Path | None = None
    num_stages: int | None = None
    self_ensemble: bool | None = None
    tile: int | Literal["auto"] | None = None
    mesh: Mesh | None = None
    dtype: str | None = None
    memory: int | None = None
    cache: bool = True

    def below(self, folder: str) -> "Restoring":
        """The same for a folder of the restored pictures."""
        if self.restored is None:
            return self
        return dataclasses.replace(self, restored=self.restored / folder)

    def source(self, protocol: Protocol) -> tuple[Source, dict[str, Any]]:
        """The source of restored pictures, and what their scores depend on.

        Raises:
          UserError: the checkpoint cannot be used for the protocol, or there are no pictures.
        """
        if self.checkpoint is None:
            if self.restored is None:
                raise UserError("neither a checkpoint nor restored pictures are given")
            return Folder(self.restored), {"restored": str(self.restored.resolve())}
        use_cache(self.cache)
        model, variables = load(self.checkpoint, self.num_stages)
        _check_task(self.checkpoint, model.config, protocol)
        wanted = self.self_ensemble
        ensemble = protocol.self_ensemble if wanted is None else wanted
        restorer = Restorer(
            model,
            variables,
            self_ensemble=ensemble,
            tile=self.tile,
            mesh=self.mesh or _all_devices(),
            dtype=self.dtype,
            memory=self.memory,
        )
        return Network(restorer), {
            "checkpoint_sha256": checkpoint_hash(self.checkpoint, variables),
            "num_stages": model.config.num_stages,
            "self_ensemble": ensemble,
            "tile": self.tile,
            "dtype": self.dtype,
        }

    def label(self) -> str:
        """What the results are called."""
        path = self.checkpoint or self.restored
        return "" if path is None else path.name or str(path)


def evaluate(
    protocol: Protocol,
    data: Path,
    output: Path,
    restoring: Restoring,
    *,
    limit: int | None = None,
    save_images: bool = False,
) -> Evaluation:
    """Scores a data set and writes results.json, images.csv and report.html.

    An evaluation that was stopped goes on: pictures that have scores in the folder, and have not
    changed since, are not restored again.

    Args:
      protocol: how; see `protocols.PROTOCOLS`.
      data: the data set's folder.
      output: folder of the results, made if it does not exist.
      restoring: who restores the pictures.
      limit: score only the first pictures by name, so many; None: all.
      save_images: write the restored pictures to images/ in the folder, as PNG.

    Raises:
      UserError: there is nothing to score, the checkpoint cannot be used, or the folder holds
        another evaluation. What fails with single pictures is in the result instead.
    """
    found = find(protocol, data)
    for path in found.others:
        print(f"left out, not a picture: {path}", file=sys.stderr)
    samples = found.samples[:limit]
    if not samples:
        raise UserError(f"{data}: nothing can be scored: {'; '.join(found.failures)}")
    source, who = restoring.source(protocol)
    identity = {"protocol": protocol.name, "dgunet_jax": __version__, **who}
    with locked(output):
        submission = Submission(output) if protocol.measure == "server" else None
        images, failures, showcase = score(
            submission or Comparison(protocol),
            samples,
            source,
            output,
            identity,
            save_images=save_images,
        )
        provenance = {
            **identity,
            "checkpoint": None if restoring.checkpoint is None else str(restoring.checkpoint),
            "data": str(data),
            "versions": versions(),
            "devices": [str(device) for device in jax.devices()],
        }
        evaluation = Evaluation(
            protocol,
            restoring.label(),
            images,
            [*found.failures, *failures],
            provenance,
            limit,
            submission and submission.bundle(sample.name for sample in found.samples),
        )
        evaluation.write(output)
        shown = _shown(evaluation)
        by_name = {sample.name: sample for sample in samples}
        names = [name for each in shown.values() for name in each]
        write_report(output, evaluation, shown, showcase.pictures(names, by_name, source))
    return evaluation


def _shown(evaluation: Evaluation) -> dict[str, list[str]]:
    """Which pictures a report shows, by title."""
    if evaluation.protocol.measure == "server":
        return {"Pictures": [name for name, _ in evaluation.images[:MOST]]}
    worst, best = extremes({name: scores.psnr for name, scores in evaluation.scored})
    return {"Worst pictures": worst, "Best pictures": best}


def _check_task(checkpoint: Path, config: DGUNetConfig, protocol: Protocol) -> None:
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


def _all_devices() -> Mesh | None:
    count = len(jax.devices())
    if count == 1:
        return None
    return jax.make_mesh((count,), ("batch",), axis_types=(AxisType.Auto,))
