"""One picture of a data set: what is restored and what it should become."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.degradations import gaussian_noise
from dgunet_jax.images.luma import grey, luma
from dgunet_jax.images.reading import read, read_rgb
from dgunet_jax.restoration.plan import Size
from dgunet_jax.system.errors import UserError


class Degraded(NamedTuple):
    """What a network takes, float32 (H, W, C), and its target, uint8 of the same shape, or None
    where it is not published.

    For compressive sensing the network takes the clean picture and samples it itself.
    """

    image: NDArray[np.float32]
    target: NDArray[np.uint8] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A picture that can be read.

    Attributes:
      name: what it is reported under.
      size: height and width, pixels.
      files: what it is read from.
      places: what its restored picture may be called below a folder of such, without the ending.
      read: decodes it; may be called in any thread.
    """

    name: str
    size: Size
    files: tuple[Path, ...]
    places: tuple[str, ...]
    read: Callable[[], Degraded]


def read_pair(image: Path, target: Path) -> Degraded:
    return Degraded(to_float(read_rgb(image)), read_rgb(target))


def read_restored(path: Path, channels: int) -> NDArray[np.float32]:
    """RGB, (H, W, 3), or with one channel grey or the full-range luma, (H, W, 1), in [0, 1].

    Pictures of 16 bits keep their depth.

    Raises:
      UserError: as `reading.read`, or the picture has transparent pixels.
    """
    picture = read(path)
    if picture.alpha is not None and picture.alpha.min() < 2**picture.bits - 1:
        raise UserError(f"{path}: has transparent pixels; flatten it onto a background first")
    if channels == 1:
        picture = grey(picture)
    return picture.colours()[..., :channels]


def read_clean(path: Path) -> Degraded:
    """The luma of a picture that a network samples itself."""
    target = luma(read_rgb(path))
    return Degraded(to_float(target), target)


def read_noisy(clean: Path, sigma: float) -> Degraded:
    """A clean picture with noise, not clipped.

    The seed is 0 for each, so a picture has the same noise whichever others there are.
    """
    target = read_rgb(clean)
    rng = np.random.default_rng(0)
    return Degraded(gaussian_noise(to_float(target), sigma, rng), target)


def to_float(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)
