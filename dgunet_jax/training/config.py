"""Settings of a run, and how files and command lines give them."""

import ast
import dataclasses
import inspect
import math
import runpy
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from ml_collections import ConfigDict, config_dict

from dgunet_jax.data.config import DataConfig
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.system.compilation import Precision
from dgunet_jax.system.errors import UserError, one_line
from dgunet_jax.system.files import user_path
from dgunet_jax.training.losses import LOSSES, LossStages

_SCHEDULE = Literal["published", "cosine", "constant", "halved"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam, its learning rates, and what is minimised.

    Attributes:
      learning_rate: the highest.
      epochs: length of the run; or
      steps: length of the run. One of the two.
      schedule: `published`: three epochs of warm-up and a cosine to 1e-6, constant within each
        epoch; `cosine`: `warmup_steps` of linear warm-up and a cosine to `final_learning_rate`, of
        every step; `constant`; `halved`: half as large after every `halve_epochs` epochs.
      cosine_epochs: of the published cosine; None: all after the warm-up.
      halve_epochs: of `halved`.
      warmup_steps, final_learning_rate: of `cosine`.
      weight_decay: L2, added to the gradient.
      clip_norm: global norm to which larger gradients are scaled down; None: not.
      accumulate: parts in which a device computes its share of a batch, to save memory.
      average: decay of the moving average of the weights that restores in place of them; None: no
        average.
      loss: one of `losses.LOSSES`.
      loss_stages: whose loss is minimised: that of `all`, as published, summed, or of the `last`.
      precision: of products: the platform's own, `default` (TF32 on a GPU, bfloat16 passes on a
        TPU), or full float32, `highest`; on a CPU they are the same.
      deterministic: whether XLA may only take GPU kernels that give the same bits every time, and
        takes them without timing them, so that a run that is gone on with is bit for bit the one
        that was not stopped. Such kernels may be slower. On CPU and TPU that holds anyway.
      learn_matrix: whether the sampling matrix of compressive sensing is learned, or stays what it
        begins as.
      seed: of the first weights.
    """

    learning_rate: float
    epochs: int | None = None
    steps: int | None = None
    schedule: _SCHEDULE = "cosine"
    cosine_epochs: int | None = None
    halve_epochs: int = 60
    warmup_steps: int = 0
    final_learning_rate: float = 1e-6
    weight_decay: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    average: float | None = None
    loss: str = "charbonnier_edge"
    loss_stages: LossStages = "all"
    precision: Precision = "default"
    deterministic: bool = False
    learn_matrix: bool = True
    seed: int = 0

    def __post_init__(self):
        if (self.epochs is None) == (self.steps is None):
            raise UserError(
                f"epochs is {self.epochs} and steps is {self.steps}; one of them must be given"
            )
        least = {"epochs": 1, "steps": 1, "cosine_epochs": 1, "halve_epochs": 1, "accumulate": 1}
        least["warmup_steps"] = 0
        for name, value in least.items():
            if getattr(self, name) is not None and getattr(self, name) < value:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {value}")
        if self.steps is not None and self.warmup_steps >= self.steps:
            raise UserError(
                f"warmup_steps is {self.warmup_steps}; it must be below steps, {self.steps}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise UserError(
                f"final_learning_rate is {self.final_learning_rate}; it must lie between 0 and"
                f" learning_rate, {self.learning_rate}"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"weight_decay is {self.weight_decay}; it must be at least 0")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}; it must be at least 0 and below 2**32")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UserError(f"clip_norm is {self.clip_norm}; it must be above 0")
        if self.average is not None and not 0 < self.average < 1:
            raise UserError(f"average is {self.average}; it must lie between 0 and 1")
        choices_of = {"schedule": _SCHEDULE, "loss_stages": LossStages, "precision": Precision}
        for name, kind in choices_of.items():
            if getattr(self, name) not in (choices := get_args(kind)):
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}"
                )
        if self.loss not in LOSSES:
            raise UserError(f"there is no loss {self.loss!r}; the losses are {', '.join(LOSSES)}")


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """How often the run speaks, is measured, drawn and saved, in steps.

    Attributes:
      throughput: whether it tells images/s, TFLOP/s and the share of time in which it waits for
        data, without what validating, drawing and saving take.
      profile_from: a step before which JAX's profiler starts; None: it does not.
      profile_steps: for how many steps it runs.
    """

    progress_every: int = 50
    evaluate_every: int = 1000
    pictures_every: int = 5000
    save_every: int = 1000
    throughput: bool = True
    profile_from: int | None = None
    profile_steps: int = 5

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "throughput":
                continue
            least = 0 if field.name == "profile_from" else 1
            if value is not None and value < least:
                raise UserError(f"{field.name} is {value}; it must be at least {least}")


@dataclasses.dataclass(frozen=True)
class GuardConfig:
    """When a run is stopped.

    Attributes:
      most_skipped: updates left out in a row, since loss or gradient were not finite.
      most_collapsed: steps in a row in which the result was more than 3 dB worse than the input
        and, compared with it, no better than ever before; or the gradient below 1e-10; 0: never.
    """

    most_skipped: int = 10
    most_collapsed: int = 200

    def __post_init__(self):
        for name, least in {"most_skipped": 1, "most_collapsed": 0}.items():
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything a run is determined by.

    Attributes:
      init_from: any checkpoint `dgunet_jax.load` reads, whose weights the run begins with; None:
        random ones.
      matrix: what the sampling matrix of compressive sensing begins as: "orthonormal" random rows,
        or a file (.npy, .npz, .mat) with an array (M, 1024) that multiplies blocks of 32×32 pixels
        flattened row by row; None: normal random numbers, or those of `init_from`.
    """

    model: DGUNetConfig
    data: DataConfig
    optimizer: OptimizerConfig
    report: ReportConfig = ReportConfig()
    guard: GuardConfig = GuardConfig()
    init_from: str | None = None
    matrix: str | None = None

    def __post_init__(self):
        for _, data in self.data.each:
            self._check_data(data)
        if self.model.noise_input and not self.model.takes_operator:
            raise UserError("noise_input is true; only a known degradation tells its noise")
        if self.model.channels != self.data.channels:
            raise UserError(
                f"channels is {self.model.channels} and data.color is {self.data.color!r}; pictures"
                " have 3 channels, and 1 of luma"
            )
        if self.matrix is not None and not self.model.measurements:
            raise UserError(f"matrix is {self.matrix!r}; the network samples nothing")

    def _check_data(self, data: DataConfig) -> None:
        """Raise a UserError unless the network can be trained on the pictures of a source."""
        if data.patch % self.model.multiple:
            raise UserError(
                f"patch is {data.patch}; it must be a multiple of {self.model.multiple}"
            )
        simulated = data.simulated
        if self.model.takes_operator != (simulated is not None and simulated.known):
            raise UserError(
                f"model.degradation is {self.model.degradation!r} and data.degradation is"
                f" {data.degradation!r}; a network of a known degradation needs one that"
                " begins with an operator, and others must not have such"
            )
        if bool(self.model.measurements) != (simulated is not None and simulated.clean):
            raise UserError(
                f"measurements is {self.model.measurements} and data.degradation is"
                f" {data.degradation!r}; a network that samples pictures itself needs 'clean'"
                " ones, and others must not have them"
            )


def to_config_dict(settings: Any) -> ConfigDict:
    """Settings as configuration files give them, every value with its type."""
    hints, config = get_type_hints(type(settings)), ConfigDict()
    for field in dataclasses.fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            value = to_config_dict(value)
        elif _named(hint) is not None:
            value = ConfigDict({each.name: _without_name(each) for each in value})
        elif value is None:
            kinds = [kind for kind in get_args(hint) if kind is not types.NoneType]
            value = config_dict.placeholder(kinds[0])
        config[field.name] = value
    return config


def _named(hint: Any) -> Any:
    """Return the class of a setting that is a group of named groups, such as `data.sources`."""
    (kind, *_) = get_args(hint) or (None,)
    return kind if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(kind) else None


def _without_name(settings: Any) -> ConfigDict:
    config = to_config_dict(settings)
    del config["name"]
    return config


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
        if (group := _named(hints[name])) is not None:
            for each, settings in _groups(values.get(name)).items():
                if hasattr(settings, "items"):
                    given = {**settings, "name": each}
                    _compare(group, given, f"{prefix}{name}.{each}.", problems)
                else:
                    problems.append(f"{prefix}{name}.{each} that is no group of settings")
        elif name not in values:
            if field.default is dataclasses.MISSING:
                problems.append(f"no {prefix}{name}")
        elif dataclasses.is_dataclass(hints[name]):
            if isinstance(values[name], Mapping) or hasattr(values[name], "items"):
                _compare(hints[name], values[name], f"{prefix}{name}.", problems)
            else:
                problems.append(f"{prefix}{name} that is no group of settings")
        elif not _fits(values[name], hints[name]):
            problems.append(f"{prefix}{name} of the wrong type, {values[name]!r}")


def _groups(values: Any) -> dict[str, Any]:
    """Return groups of settings by name, however they are given."""
    return dict(values.items()) if hasattr(values, "items") else {}


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
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _value(hint: Any, value: Any) -> Any:
    """Return a setting as its class has it."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _build(hint, value)
    if (group := _named(hint)) is not None:
        groups = _groups(value).items()
        return tuple(_build(group, {**settings, "name": name}) for name, settings in groups)
    return tuple(value) if isinstance(value, list) else value


def read_config(path: str, changes: Mapping[str, str] | None = None) -> TrainConfig:
    """Return the settings of a configuration file.

    Args:
      path: of a Python file whose `get_config()` returns the settings, as a dict or ConfigDict; or
        FILE:VARIANT for those of `get_config(VARIANT)`. Where there is no such file, "gopro" and
        "configs/gopro.py" mean the recipe of that name that is installed with the package.
      changes: texts of values by names such as "data.patch". "None" stands for no value.

    Raises:
      UserError: there is no such file, variant or setting, the file raises an error, or a value is
        out of range.
    """
    parsed = {name: _parsed(name, text) for name, text in (changes or {}).items()}
    name, colon, variant = path.partition(":")
    file = user_path(name)
    file = file if file.is_file() else _recipe(name)
    if not file.is_file():
        raise UserError(f"--config {name}: no such file")
    try:
        get_config = runpy.run_path(str(file))["get_config"]
        if colon and not inspect.signature(get_config).parameters:
            raise UserError(f"--config {name}: has no variants")
        values = get_config(*([variant] if colon else []))
        values = values.to_dict() if isinstance(values, ConfigDict) else dict(values)
    except UserError:
        raise
    except Exception as error:  # whatever the file raises
        if colon and error.args == (variant,):
            raise UserError(f"--config {name}: has no variant {variant!r}") from error
        problem = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"--config {name}: cannot be used: {problem}") from error
    for setting, value in parsed.items():
        *groups, last = setting.split(".")
        group = values
        for each in groups:
            group = group.setdefault(each, {})
        group[last] = value
    return from_config_dict(values)


def _recipe(name: str) -> Path:
    """Return where a recipe of the package lies, in the package or beside it in a checkout."""
    package = Path(__file__).parents[1]
    places = (package / "configs", package.parent / "configs")
    file = f"{name.removeprefix('configs/').removesuffix('.py')}.py"
    return next((place / file for place in places if (place / file).is_file()), places[0] / file)


def kind_of(name: str) -> Any:
    """Return the type of the setting that a name such as "data.patch" stands for.

    Raises:
      UserError: there is no such setting.
    """
    kind: Any = TrainConfig
    above: list[str] = []
    parts = iter(name.split("."))
    for part in parts:
        fields = get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        if part not in fields:
            group = ".".join(above) or "a config"
            if not fields:
                raise UserError(f"there is no setting {name}; {group} is a value")
            raise UserError(f"there is no setting {name}; {group} has {', '.join(fields)}")
        kind = fields[part]
        above.append(part)
        if (group := _named(kind)) is not None and (source := next(parts, None)) is not None:
            kind = group
            above.append(source)
    return kind


def _truth(text: str) -> bool:
    return {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}[
        text.lower()
    ]


_READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    bool: (_truth, "True or False"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    tuple: (lambda text: tuple(ast.literal_eval(text)), "a tuple, as (0, 1)"),
}
"""By type: what reads a value from text, and what the text must be."""


def _parsed(name: str, text: str) -> Any:
    """Return the value of a setting that the command line gives as text."""
    kind = kind_of(name)
    if dataclasses.is_dataclass(kind) or _named(kind) is not None:
        raise UserError(f"{name}: is a group of settings; give one of them, as {name}.NAME=VALUE")
    kinds = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if text.lower() == "none" and kind is not str:
        if types.NoneType not in kinds:
            raise UserError(f"{name}: must have a value")
        return None
    rules = []
    for each in kinds:
        if each is types.NoneType:
            continue
        read, rule = _READERS.get(typing.get_origin(each) or each, (str, "text"))
        try:
            return read(text)
        except (KeyError, ValueError, TypeError, SyntaxError):
            rules.append(rule)
    raise UserError(f"{name} is {text!r}; it must be {' or '.join(rules)}")
