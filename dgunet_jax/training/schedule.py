"""Learning rates, and how epochs become steps."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from dgunet_jax.system.errors import UserError
from dgunet_jax.training.config import OptimizerConfig

_PUBLISHED_WARMUP = 3  # epochs
_PUBLISHED_FINAL = 1e-6


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A run's length and learning rates.

    Attributes:
      steps: of the whole run.
      steps_per_epoch: samples of an epoch over those of a step; not a whole number, since batches
        run on across the end of an epoch.
      rate: step, counted from 0, to learning rate.
    """

    steps: int
    steps_per_epoch: float
    rate: optax.Schedule


def published_rates(learning_rate: float, epochs: int, cosine_epochs: int) -> NDArray[np.float64]:
    """Learning rate of every epoch e = 1, 2, … of the published recipes.

    lr · e / 3 for e ≤ 3, then 1e-6 + ½ (lr − 1e-6)(1 + cos(π (e − 4) / C)), C = `cosine_epochs`:
    a warm-up of three epochs and a cosine, both constant within an epoch.
    """
    epoch = np.arange(1, epochs + 1)
    cosine = 0.5 * (1 + np.cos(np.pi * (epoch - 4) / max(1, cosine_epochs)))
    decay = _PUBLISHED_FINAL + (learning_rate - _PUBLISHED_FINAL) * cosine
    return np.where(epoch <= 3, learning_rate * epoch / _PUBLISHED_WARMUP, decay)


def resolve(config: OptimizerConfig, samples_per_epoch: int, batch: int) -> Schedule:
    """The schedule in steps.

    Args:
      samples_per_epoch: patches that an epoch takes.
      batch: patches that a step takes, over all devices.

    Raises:
      UserError: the warm-up is longer than the run.
    """
    per_epoch = samples_per_epoch / batch
    if config.epochs is not None:
        steps = math.ceil(config.epochs * per_epoch)
    else:
        assert config.steps is not None
        steps = config.steps
    if config.schedule == "published":
        epochs = config.epochs or math.ceil(steps / per_epoch)
        cosine = config.cosine_epochs or epochs - _PUBLISHED_WARMUP
        rates = published_rates(config.learning_rate, epochs, cosine)
        first_steps = _first_steps(np.arange(epochs), per_epoch)
        return Schedule(steps, per_epoch, _by_epoch(rates, first_steps))
    if config.schedule == "constant":
        return Schedule(steps, per_epoch, optax.constant_schedule(config.learning_rate))
    if config.schedule == "halved":
        starts = np.arange(0, math.ceil(steps / per_epoch), config.halve_epochs)
        rates = config.learning_rate * np.power(0.5, np.arange(len(starts)))
        return Schedule(steps, per_epoch, _by_epoch(rates, _first_steps(starts, per_epoch)))
    if config.warmup_steps >= steps:
        raise UserError(
            f"warmup_steps is {config.warmup_steps}; it must be below the steps of {config.epochs}"
            f" epochs, {steps}"
        )
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_steps else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=steps,
        end_value=config.final_learning_rate,
    )
    return Schedule(steps, per_epoch, rate)


def _first_steps(epochs: NDArray[np.int64], per_epoch: float) -> NDArray[np.int32]:
    """The first step of each of these epochs, counted from 0."""
    return np.ceil(epochs * per_epoch).astype(np.int32)


def _by_epoch(rates: NDArray[np.float64], first_steps: NDArray[np.int32]) -> optax.Schedule:
    def rate(step):
        epoch = (
            jnp.searchsorted(jnp.asarray(first_steps), step, side="right", method="compare_all") - 1
        )
        return jnp.asarray(rates, jnp.float32)[epoch]

    return rate
