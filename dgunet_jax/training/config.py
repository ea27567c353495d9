"""A training run's settings, and the way from an ml_collections file to them."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from dgunet_jax.data.pipeline import PipelineConfig
from dgunet_jax.errors import UserError
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.training.losses import LOSSES


@dataclasses.dataclass(frozen=True)
class PictureConfig:
    """Which of scikit-image's photographs are used.

    Attributes:
      train: names of those trained on.
      held_out: names of those the score is measured on, whole.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def __post_init__(self):
        for name in ("train", "held_out"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if both := sorted(set(self.train) & set(self.held_out)):
            raise UserError(f"{', '.join(both)} stand in both train and held_out")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with a linear warm-up and a cosine decay.

    Attributes:
      steps: length of the run.
      peak_learning_rate: reached after the warm-up.
      final_learning_rate: at the last step.
      warmup_steps: length of the rise from zero.
      loss: one of `losses.LOSSES`, summed over all stages.
      seed: of the first weights.
    """

    steps: int
    peak_learning_rate: float
    final_learning_rate: float = 1e-6
    warmup_steps: int = 0
    loss: str = "charbonnier_edge"
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1 or not 0 <= self.warmup_steps < self.steps:
            raise UserError(
                f"steps is {self.steps} and warmup_steps {self.warmup_steps};"
                " there must be at least one step, and a shorter warm-up"
            )
        if not 0 <= self.final_learning_rate <= self.peak_learning_rate:
            raise UserError(
                f"final_learning_rate {self.final_learning_rate} must lie between 0 and"
                f" peak_learning_rate {self.peak_learning_rate}"
            )
        if self.loss not in LOSSES:
            raise UserError(f"there is no loss {self.loss!r}; the losses are {', '.join(LOSSES)}")


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """How often the run speaks, is measured and is saved, in steps."""

    progress_every: int = 10
    evaluate_every: int = 100
    save_every: int = 100

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise UserError(
                    f"{field.name} is {getattr(self, field.name)}; it must be at least 1"
                )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything a run is determined by."""

    model: DGUNetConfig
    pictures: PictureConfig
    pipeline: PipelineConfig
    optimizer: OptimizerConfig
    report: ReportConfig

    def __post_init__(self):
        if self.pipeline.patch % self.model.multiple:
            raise UserError(
                f"patch is {self.pipeline.patch}; it must be a multiple of {self.model.multiple}"
            )
        if self.model.channels != 3:
            raise UserError(f"channels is {self.model.channels}; the photographs have 3")


def from_config_dict(values: Mapping[str, Any]) -> TrainConfig:
    """The settings in a (nested) mapping such as an ml_collections ConfigDict.

    Raises:
      UserError: one line with every unknown and missing name, or the value that is out of range.
    """
    problems: list[str] = []
    _compare(TrainConfig, values, "", problems)
    if problems:
        raise UserError(f"the config has {'; '.join(problems)}")
    return _build(TrainConfig, values)


def _compare(kind: type, values: Mapping[str, Any], prefix: str, problems: list[str]) -> None:
    """Collects what is unknown, missing or of the wrong type in `values`."""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    problems += [f"unknown {prefix}{name}" for name in values if name not in fields]
    for name, field in fields.items():
        if name not in values:
            if field.default is dataclasses.MISSING:
                problems.append(f"no {prefix}{name}")
        elif dataclasses.is_dataclass(hints[name]):
            if isinstance(values[name], Mapping) or hasattr(values[name], "items"):
                _compare(hints[name], values[name], f"{prefix}{name}.", problems)
            else:
                problems.append(f"{prefix}{name} that is no group of settings")
        elif not _fits(values[name], hints[name]):
            problems.append(f"{prefix}{name} of the wrong type, {values[name]!r}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value can stand for the type: an int for a float, a list for a tuple."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return isinstance(value, str)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(v, arguments[0]) for v in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def _build(kind: type, values: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    arguments = {
        name: _build(hints[name], value)
        if dataclasses.is_dataclass(hints[name])
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
    return kind(**arguments)
