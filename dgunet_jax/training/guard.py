"""What ends a run early: a collapse, and signals."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

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


class Stop:
    """Tells when a run was asked to stop.

    Attributes:
      signal: that asked, or None.
    """

    def __init__(self):
        self.signal: int | None = None

    def asked(self, step: int) -> bool:
        """Whether to stop after a step; to be called after every one."""
        return self.signal is not None


class _CommonStop(Stop):
    """JAX hears SIGTERM in every process and finds a step that none of them is beyond yet."""

    def asked(self, step: int) -> bool:
        if multihost_utils.reached_preemption_sync_point(step):
            self.signal = signal.SIGTERM
        return self.signal is not None


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Within the block SIGTERM, SIGHUP and SIGINT ask to stop instead of ending the process.

    A second SIGINT ends it after all. SIGHUP is left alone where it is ignored, as `nohup` does. If
    there are several processes, all stop after the same step when one of them is asked.
    """
    alone = jax.process_count() == 1
    stop = Stop() if alone else _CommonStop()
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        interrupted = interrupted or number == signal.SIGINT
        if alone:
            stop.signal = stop.signal or number
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    numbers = [signal.SIGTERM, signal.SIGINT] if alone else [signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
