"""Stopping a run that has died."""

from collections.abc import Callable, Sequence

import numpy as np

from dgunet_jax.system.errors import UserError, listed
from dgunet_jax.training.config import GuardConfig
from dgunet_jax.training.step import COLLAPSED_DB, VANISHED_GRADIENT, Metrics

_MOST_FILES = 16


class DeadRun(UserError):
    """A run that will not recover; the message says since when, on what, and where it broke."""


def check(
    config: GuardConfig, metrics: Metrics, step: int, files: Callable[[int], Sequence[str]]
) -> None:
    """Looks at the metrics of a step, counted from 1.

    Args:
      files: the files of the batch of a step.

    Raises:
      DeadRun: the run is to be stopped.
    """
    if (skipped := int(metrics.skipped_in_row)) >= config.most_skipped:
        bad = np.flatnonzero(~np.asarray(metrics.finite_stages))
        where = f"the estimate of stage {bad[0] + 1}" if bad.size else "the gradient"
        raise DeadRun(
            f"step {step}: {where} is not finite, and the updates of the last {skipped} steps were"
            f" left out; the batch: {_names(files(step))}"
        )
    if config.most_collapsed and int(metrics.collapsed_in_row) >= config.most_collapsed:
        worst = np.asarray(metrics.psnr)
        below = np.flatnonzero(worst < float(metrics.input_psnr) - COLLAPSED_DB)
        where = f" from stage {below[0] + 1} on" if below.size else ""
        raise DeadRun(
            f"step {step}: the run has collapsed: for {int(metrics.collapsed_in_row)} steps the"
            f" result ({worst[-1]:.2f} dB) was more than {COLLAPSED_DB:g} dB below the input"
            f" ({float(metrics.input_psnr):.2f} dB){where} and became no better, or the gradient"
            f" ({float(metrics.gradient_norm):.1e}) below {VANISHED_GRADIENT:g}; go on from an"
            f" earlier checkpoint with a lower learning rate; the batch: {_names(files(step))}"
        )


def _names(files: Sequence[str]) -> str:
    return listed(list(dict.fromkeys(files)), _MOST_FILES)
