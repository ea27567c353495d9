"""Times on a machine whose speed drifts: in turns, and as a share of what it does meanwhile."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs import Compiled

_MATRIX_SIDE = 2048


@dataclasses.dataclass(frozen=True)
class Times:
    """Runs of a program: in each round rolled, unrolled, unrolled, rolled.

    Attributes:
      rolled: seconds, two a round.
      unrolled: seconds, two a round.
      rates: GFLOP/s of a matrix product, measured around every run, the median of each round.
    """

    rolled: list[float]
    unrolled: list[float]
    rates: list[float]

    @property
    def seconds(self) -> float:
        """Median time of the rolled program."""
        return statistics.median(self.rolled)

    @property
    def rate(self) -> float:
        """Median rate of the matrix product, GFLOP/s."""
        return statistics.median(self.rates)

    @property
    def ratio(self) -> float:
        """Time rolled over time unrolled, median over the rounds."""
        return statistics.median(
            a / b for a, b in zip(_rounds(self.rolled), _rounds(self.unrolled), strict=True)
        )

    def share(self, gflop: float) -> float:
        """Rate of the rolled program over the matrix product's, median over the rounds."""
        return statistics.median(
            gflop / seconds / rate
            for seconds, rate in zip(_rounds(self.rolled), self.rates, strict=True)
        )


def measure(rolled: Compiled, unrolled: Compiled, rounds: int) -> Times:
    """Runs both programs in turns for a number of rounds.

    Raises:
      FloatingPointError: a result is not finite; its time would mean nothing.
    """
    for program in (rolled, unrolled):
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(program.run())):
            raise FloatingPointError("the program to be timed gave values that are not finite")
    product = matrix_product()
    times = Times([], [], [])
    for _ in range(rounds):
        rates = [product()]
        for program, seconds in (
            (rolled, times.rolled),
            (unrolled, times.unrolled),
            (unrolled, times.unrolled),
            (rolled, times.rolled),
        ):
            seconds.append(clock(program.run))
            rates.append(product())
        times.rates.append(statistics.median(rates))
    return times


def matrix_product() -> Callable[[], float]:
    """A function giving the better rate, GFLOP/s, of two float32 products of side 2048."""
    multiply = jax.jit(jnp.matmul)
    a = jnp.asarray(np.random.default_rng(0).random((_MATRIX_SIDE, _MATRIX_SIDE), np.float32))
    multiply(a, a).block_until_ready()

    def rate() -> float:
        seconds = min(clock(lambda: multiply(a, a).block_until_ready()) for _ in range(2))
        return 2 * _MATRIX_SIDE**3 / seconds / 1e9

    return rate


def clock(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _rounds(seconds: list[float]) -> list[float]:
    """Mean of the two runs of every round."""
    return [(a + b) / 2 for a, b in zip(seconds[::2], seconds[1::2], strict=True)]
