"""Known degradations, drawn for every image: an operator, and the noise of what it measures."""

import functools
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.kernels import disk_kernel, gaussian_kernel, motion_kernel
from dgunet_jax.operators.imaging import Bayer, Blur, Downsample, Mask
from dgunet_jax.operators.library import BLOCK, BlockSampling
from dgunet_jax.operators.transforms import Fourier

Shape = tuple[int, ...]

_CENTRE = 0.08  # of the columns around frequency zero, which are always measured


class Measured(TypedDict):
    """What a clean image is measured by.

    The operator is one of a single image: its arrays have no axis for the batch. `sigma` is the
    standard deviation of the noise on the [0, 255] scale, and `seed` what it is drawn from.
    """

    operator: Any
    sigma: NDArray[np.float32]
    seed: NDArray[np.uint32]


def simulate(operator: Any, clean: jax.Array, sigma: jax.Array, seed: jax.Array) -> Any:
    """Measure images: y = Φ(x) + σ/255 · n, n ~ N(0, 1), complex where y is.

    Args:
      operator: Φ, of the batch.
      clean: x, (N, H, W, C) in [0, 1].
      sigma: σ of each image, (N,).
      seed: of each image's noise, (N,).

    Returns:
      y, as the operator makes it.
    """

    def noisy(leaf: jax.Array, place: int) -> jax.Array:
        def add(values: jax.Array, sigma: jax.Array, seed: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(seed), place)
            noise = jax.random.normal(key, values.shape, values.dtype)
            return values + (sigma / 255).astype(noise.real.dtype) * noise

        return jax.vmap(add)(leaf, sigma, seed)

    leaves, tree = jax.tree.flatten(operator.forward(clean))
    return tree.unflatten([noisy(leaf, place) for place, leaf in enumerate(leaves)])


def simulate_one(drawn: Measured, clean: NDArray[np.floating]) -> tuple[Any, Any]:
    """Measure an image (H, W, C); return operator and measurement of a batch of one."""
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], drawn)
    operator = batch["operator"]
    return operator, simulate(operator, jnp.asarray(clean)[None], batch["sigma"], batch["seed"])


def motion_blur(rng: np.random.Generator, shape: Shape, side: float, length: float) -> Blur:
    """Draw a blur by a camera that moves on an arc while it looks.

    Args:
      rng: draws direction and curvature.
      shape: of the image; the border is circular.
      side: of the kernel, in pixels.
      length: of the way, in pixels.
    """
    return Blur(motion_kernel(rng, round(side), length), border="circular")


def gaussian_blur(rng: np.random.Generator, shape: Shape, side: float, deviation: float) -> Blur:
    """Return a Gaussian blur with a kernel of `side` pixels; the border is circular."""
    return Blur(gaussian_kernel(round(side), deviation), border="circular")


def disk_blur(rng: np.random.Generator, shape: Shape, side: float, radius: float) -> Blur:
    """Return a blur by a lens out of focus, a disk; the border is circular."""
    return Blur(disk_kernel(round(side), radius), border="circular")


def mask(rng: np.random.Generator, shape: Shape, kept: float) -> Mask:
    """Draw which pixels are kept, each with the probability `kept`, in all channels."""
    return Mask((rng.random((*shape[:2], 1)) < kept).astype(np.float32))


def color_mask(rng: np.random.Generator, shape: Shape, kept: float) -> Mask:
    """Draw which values are kept, each with the probability `kept`, in every channel by itself."""
    return Mask((rng.random(shape) < kept).astype(np.float32))


def downsample(rng: np.random.Generator, shape: Shape, factor: float) -> Downsample:
    """Return a bicubic reduction of both sides by `factor`, with a circular border."""
    return Downsample(round(factor), "bicubic", border="circular")


def bayer(rng: np.random.Generator, shape: Shape) -> Bayer:
    """Return a mosaic of colours, RGGB."""
    return Bayer()


def fourier(rng: np.random.Generator, shape: Shape, acceleration: float) -> Fourier:
    """Draw which columns of the 2-D spectrum are measured, one in `acceleration` of them.

    8 % around frequency zero are, and of the others as many as are missing, all equally likely.
    """
    width = shape[1]
    columns = np.abs(np.fft.fftfreq(width)) <= _CENTRE / 2
    others = np.flatnonzero(~columns)
    missing = max(0, round(width / acceleration) - int(columns.sum()))
    columns[rng.choice(others, missing, replace=False)] = True
    return Fourier(np.broadcast_to(columns, shape[:2]).astype(np.float32))


def sampling(rng: np.random.Generator, shape: Shape, ratio: float) -> BlockSampling:
    """Return block compressive sensing of 32×32 pixels, by the same orthonormal rows for all."""
    return BlockSampling(_orthonormal_rows(ratio))


@functools.cache
def _orthonormal_rows(ratio: float) -> NDArray[np.float32]:
    return np.asarray(BlockSampling.draw(ratio, BLOCK, np.random.default_rng(0)).matrix)


def on_the_host() -> Any:
    """Return a context in which operators are made of arrays that take no device's memory."""
    return jax.default_device(jax.local_devices(backend="cpu")[0])
