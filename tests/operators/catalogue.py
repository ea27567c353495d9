"""Every known operator once: the contract's tests take a new one from here."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from dgunet_jax.operators import (
    Bayer,
    BlockSampling,
    Blur,
    DenseSampling,
    Downsample,
    Fourier,
    Identity,
    KnownOperator,
    LinearOperator,
    Mask,
    Radon,
    SamplingMatrix,
    Stack,
    with_norm,
)

Rng = np.random.Generator
ODD = (2, 37, 31, 3)


@dataclasses.dataclass(frozen=True)
class Case:
    """An operator and images for it.

    Attributes:
      make: the operator with arrays drawn by a generator.
      shape: (N, H, W, C).
      loose: ‖Φ‖² is at most this factor above the norm.
      any_size: the operator takes images of other sizes too.
    """

    make: Callable[[Rng], KnownOperator]
    shape: tuple[int, int, int, int] = ODD
    loose: float = 1.05
    any_size: bool = False


def kernel(rng: Rng, *shape: int) -> np.ndarray:
    """A kernel without negative values, of sum 1; or several."""
    values = rng.random(shape) ** 2
    return (values / values.sum((-2, -1), keepdims=True)).astype(np.float32)


def even(rng: Rng, side: int) -> np.ndarray:
    """A kernel with negative values that equals its mirror images."""
    values = rng.standard_normal((side, side))
    values = values + values[::-1]
    return (values + values[:, ::-1]).astype(np.float32)


def coils(rng: Rng, *shape: int) -> np.ndarray:
    """Sensitivities (..., K, H, W) that vary slowly and have a sum of squares of 1."""
    *others, height, width = shape
    row, column = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    a, b, c = rng.standard_normal((3, *others, 1, 1))
    waves = np.exp(0.5 * (a * row + b * column) + 1j * (b * row - a * column + c))
    return (waves / np.sqrt((np.abs(waves) ** 2).sum(-3, keepdims=True))).astype(np.complex64)


def half(rng: Rng, *shape: int) -> np.ndarray:
    return (rng.random(shape) < 0.5).astype(np.float32)


def _weighted_rows(weights: Any, x: Any) -> Any:
    return jnp.fft.fft(x, axis=1) * weights[None, :, None, None]


def _function(rng: Rng) -> KnownOperator:
    return LinearOperator(Partial(_weighted_rows, jnp.asarray(rng.random(37), float)), ODD[1:])


def _matrix(rng: Rng, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) / 32).astype(np.float32)


CASES: dict[str, Case] = {
    "identity": Case(lambda rng: Identity(), any_size=True),
    "mask": Case(lambda rng: Mask(rng.random((37, 31)))),
    "mask_of_each": Case(lambda rng: Mask(rng.random((2, 37, 31, 1)))),
    "blur": Case(lambda rng: Blur(kernel(rng, 5, 4)), any_size=True),
    "blur_circular": Case(lambda rng: Blur(kernel(rng, 4, 7), "circular"), any_size=True),
    "blur_valid": Case(lambda rng: Blur(kernel(rng, 4, 7), "valid"), any_size=True),
    "blur_reflect": Case(lambda rng: Blur(even(rng, 5), "reflect"), loose=1.08, any_size=True),
    "blur_reflect_uneven": Case(lambda rng: Blur(kernel(rng, 5, 4), "reflect"), loose=1.6),
    "blur_of_each": Case(lambda rng: Blur(kernel(rng, 2, 3, 5)), any_size=True),
    "area": Case(lambda rng: Downsample(3), (2, 33, 27, 3), any_size=True),
    "bicubic": Case(lambda rng: Downsample(2, "bicubic"), (2, 34, 30, 3), any_size=True),
    "blur_and_sample": Case(
        lambda rng: Downsample(3, kernel(rng, 2, 5, 4), "circular", offset=0), (2, 33, 27, 3)
    ),
    "bayer": Case(lambda rng: Bayer("GRBG"), any_size=True),
    "blocks": Case(lambda rng: BlockSampling(_matrix(rng, 7, 25), 5), (2, 35, 30, 3)),
    "sampling": Case(
        lambda rng: SamplingMatrix(jnp.asarray(_matrix(rng, 9, 1024))), (2, 64, 32, 1)
    ),
    "dense": Case(lambda rng: DenseSampling(_matrix(rng, 20, 7 * 5 * 2), (7, 5, 2)), (2, 7, 5, 2)),
    "fourier": Case(lambda rng: Fourier(half(rng, 37, 31))),
    "coils": Case(lambda rng: Fourier(half(rng, 2, 37, 31), coils(rng, 3, 37, 31)), loose=2.5),
    "radon": Case(lambda rng: Radon(rng.uniform(0, 7, 6), (13, 11)), (2, 13, 11, 1)),
    "function": Case(_function),
    "composition": Case(
        lambda rng: Downsample(3) @ Blur(kernel(rng, 5, 5)), (2, 33, 27, 3), any_size=True
    ),
    "blur_twice": Case(
        lambda rng: Blur(kernel(rng, 5, 4)) @ Blur(kernel(rng, 3, 3)), any_size=True
    ),
    "sum": Case(lambda rng: 2 * Identity() - np.float64(0.5) * Blur(kernel(rng, 3, 3)), loose=2),
    "stack": Case(
        lambda rng: Stack((Blur(kernel(rng, 5, 5)), Fourier(half(rng, 37, 31)))), loose=2
    ),
    "with_norm": Case(
        lambda rng: with_norm(Bayer() @ Blur(even(rng, 3)), (1, *ODD[1:])), any_size=True
    ),
}


@jax.jit
def forward(operator: KnownOperator, x: jax.Array) -> Any:
    return operator.forward(x)


@jax.jit
def adjoint(operator: KnownOperator, r: Any) -> jax.Array:
    return operator.adjoint(r, at=None)


@jax.jit
def squared_norm(operator: KnownOperator) -> jax.Array:
    return jnp.asarray(operator.squared_norm())


@jax.jit
def start(operator: KnownOperator, y: Any) -> jax.Array:
    return operator.start(y)
