"""Experiments that change one setting, and the runs they come to."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import replacing
from dgunet_jax.training import loop
from dgunet_jax.training.config import TrainConfig

_RESULT = "result.json"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One question, asked by training.

    Attributes:
      name: of the files with its result.
      title: of its figure.
      variants: settings by the name of each variant, as in {"model.num_stages": 3}. One of them
        changes nothing: the base, with which the others are compared.
    """

    name: str
    title: str
    variants: Mapping[str, Mapping[str, Any]]

    def base(self, config: TrainConfig) -> str:
        """The variant whose settings are those of `config`."""
        (name,) = (n for n, changes in self.variants.items() if changed(config, changes) == config)
        return name


class Stopped(Exception):
    """A run was asked to stop by a signal, whose number is the argument."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run reached on the held-out pictures.

    Attributes:
      noisy: PSNR of the inputs in dB, mean over the pictures.
      stages: PSNR of every stage's estimate, first stage first.
    """

    noisy: float
    stages: tuple[float, ...]

    @property
    def gain(self) -> float:
        """Of the last estimate over the input, dB."""
        return self.stages[-1] - self.noisy


def changed(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The config with other values, named as in {"model.num_stages": 3}."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        group, field = name.split(".")
        groups.setdefault(group, {})[field] = value
    # All values of a group at once, since they are checked together.
    replaced = {g: dataclasses.replace(getattr(config, g), **v) for g, v in groups.items()}
    return dataclasses.replace(config, **replaced)


def seeded(config: TrainConfig, seed: int) -> TrainConfig:
    """With other first weights, another order of the pictures, other crops and other noise.

    Variants with the same seed see the same batches and held-out inputs.
    """
    return changed(config, {"optimizer.seed": seed, "data.seed": seed})


def run_name(base: TrainConfig, changes: Mapping[str, Any], seed: int) -> str:
    """Of the working directory: what differs from the base, and the seed.

    Experiments with the same base and output share its runs.
    """
    parts = []
    for name, value in changes.items():
        group, field = name.split(".")
        if getattr(getattr(base, group), field) != value:
            shown = "-".join(map(str, value)) if isinstance(value, tuple) else value
            parts.append(f"{field}={shown}")
    return f"{','.join(parts) or 'base'},seed={seed}"


def run(config: TrainConfig, workdir: Path) -> Result:
    """Trains, or goes on, or reads what a run that has ended reached.

    Raises:
      UserError: as `loop.train`, or the run in `workdir` had other settings.
      Stopped: by a signal; the same command goes on.
    """
    path, settings = workdir / _RESULT, json.loads(json.dumps(dataclasses.asdict(config)))
    if path.exists():
        return _read(path, settings)
    ended = loop.train(config, workdir)
    if ended.scores is None:
        raise Stopped(ended.signal)
    result = Result(ended.scores.noisy, ended.scores.stages)
    with replacing(path) as file:
        file.write(json.dumps(dataclasses.asdict(result) | {"config": settings}, indent=1).encode())
    return result


def _read(path: Path, settings: dict[str, Any]) -> Result:
    try:
        found = json.loads(path.read_text())
        result = Result(found["noisy"], tuple(found["stages"]))
        trained = found["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read; remove it, and the run is scored again"
        ) from error
    if trained != settings:
        raise UserError(f"{path}: is of a run with other settings; choose another --output")
    return result
