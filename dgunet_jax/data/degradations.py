"""Degradations of clean pictures: pure functions of a picture, numbers and a generator.

A text says what is drawn, as in ``"gaussian(0..55) | round; camera(0.0001..0.01) | jpeg(70..95)"``:
chains of steps, of which each sample takes one, all equally likely. Steps are applied from left to
right. A number stands for itself and ``low..high`` for a draw between the two.
"""

import dataclasses
import io
import math
import re
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dgunet_jax.system.errors import UserError, listed

_STEP = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*")


def gaussian_noise(
    clean: NDArray[np.floating], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add white Gaussian noise: noisy = clean + σ/255 · n, n ~ N(0, 1) for every value.

    The result is not clipped to [0, 1]. Noise and sum are computed in float64 and rounded once.

    Args:
      clean: floating point in [0, 1], any shape.
      sigma: σ, standard deviation of the noise on the [0, 255] scale.
      rng: what draws n; advanced by as many normal numbers as `clean` has values.

    Returns:
      float32, the shape of `clean`.

    Raises:
      UserError: σ is negative or not finite, or `clean` is not floating point.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise UserError(f"sigma is {sigma}; it must be a finite number, at least 0")
    if not np.issubdtype(clean.dtype, np.floating):
        raise UserError(f"noise is added to floating-point images in [0, 1]; got {clean.dtype}")
    noise = rng.standard_normal(clean.shape)
    return (clean + (sigma / 255) * noise).astype(np.float32)


def camera_noise(
    clean: NDArray[np.float32], shot: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add the noise of a sensor, as a camera passes it on.

    The picture is taken back to linear light and to the sensor's own gains. There every value z of
    the Bayer mosaic has noise of the variance `shot`·z + r (Poisson-Gaussian), log r = 2.18 log
    `shot` + 1.2 + 0.26 n, n ~ N(0, 1), cameras' usual read noise. The noise, not the picture, is
    demosaiced bilinearly, so that it is correlated between pixels and channels and the picture
    stays sharp; gains (red and blue 1.2 to 2.4) and the sRGB curve are applied again. Source of the
    noise's model: Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019.

    Args:
      clean: RGB (H, W, 3) in [0, 1].
      shot: variance for a unit of light, 1 being white; cameras have 0.0001 to 0.012.
      rng: what draws gains, position of the mosaic and noise.

    Returns:
      float32, the shape of `clean`, clipped to [0, 1].
    """
    gains = np.array([rng.uniform(1.2, 2.4), 1.0, rng.uniform(1.2, 2.4)], np.float32)
    read = math.exp(2.18 * math.log(shot) + 1.2 + 0.26 * rng.standard_normal())
    light = np.where(clean <= 0.04045, clean / 12.92, ((clean + 0.055) / 1.055) ** 2.4) / gains
    noise = rng.standard_normal(clean.shape[:2], np.float32)
    top, left = rng.integers(2, size=2)
    spread = np.zeros_like(light, np.float32)
    for channel, places in enumerate((((0, 0),), ((0, 1), (1, 0)), ((1, 1),))):
        for row, column in places:
            where = slice((row + top) % 2, None, 2), slice((column + left) % 2, None, 2)
            variance = shot * light[*where, channel] + read
            spread[*where, channel] = noise[where] * np.sqrt(variance)
        kernel = _BILINEAR[len(places)]
        spread[..., channel] = ndimage.convolve(spread[..., channel], kernel, mode="mirror")
    light = ((light + spread) * gains).clip(0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return curved.astype(np.float32)


# Weights of the neighbours that have a colour, by how many of four sensors do.
_BILINEAR = {
    1: np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4,
    2: np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4,
}


def jpeg(
    image: NDArray[np.float32], quality: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Store a picture as JPEG and read it again.

    Args:
      image: RGB (H, W, 3); it is clipped to [0, 1] and rounded to 8 bits.
      quality: 1 to 100, rounded to a whole number; libjpeg's, with colour at half the resolution.
      rng: draws nothing.

    Returns:
      float32 in [0, 1], the shape of `image`.
    """
    file = io.BytesIO()
    Image.fromarray(_bytes(image)).save(file, "JPEG", quality=round(quality), subsampling="4:2:0")
    with Image.open(file) as stored:
        return np.asarray(stored, np.float32) / np.float32(255)


def rounded(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Clip a picture to [0, 1] and round it to 8 bits, as a file of it is.

    Args:
      image: any shape.
      rng: draws nothing.

    Returns:
      float32, the shape of `image`.
    """
    return _bytes(image).astype(np.float32) / np.float32(255)


def _bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    return (image * 255).round().clip(0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A function of a picture, numbers and a generator, with the ranges of its numbers.

    Attributes:
      ranges: of each number: its name, least and greatest value.
      logarithmic: whether logarithms are drawn uniformly, not numbers.
    """

    apply: Callable[..., NDArray[np.float32]]
    ranges: tuple[tuple[str, float, float], ...] = ()
    logarithmic: bool = False


KINDS = {
    "gaussian": Kind(gaussian_noise, (("sigma", 0, math.inf),)),
    "camera": Kind(camera_noise, (("shot", 1e-6, 1),), logarithmic=True),
    "jpeg": Kind(jpeg, (("quality", 1, 100),)),
    "round": Kind(rounded),
}


@dataclasses.dataclass(frozen=True)
class Step:
    """A kind of degradation and, for each of its numbers, between what it is drawn."""

    kind: Kind
    numbers: tuple[tuple[float, float], ...]

    def draw(self, rng: np.random.Generator) -> list[float]:
        """Draw the numbers; one that is given draws nothing."""
        return [low if low == high else self._between(low, high, rng) for low, high in self.numbers]

    def _between(self, low: float, high: float, rng: np.random.Generator) -> float:
        if self.kind.logarithmic:
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        return rng.uniform(low, high)


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Chains of steps, one of which degrades a picture.

    `Degradation.parse("gaussian(0..55) | round").apply(image, rng)` is a noisy picture.
    """

    chains: tuple[tuple[Step, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what the module describes.

        Raises:
          UserError: in one line, what is not a chain of steps, or a number out of its range.
        """
        return cls(
            tuple(
                tuple(_step(step, text) for step in chain.split("|")) for chain in text.split(";")
            )
        )

    def apply(
        self,
        clean: NDArray[np.float32],
        rng: np.random.Generator,
        numbers: np.random.Generator | None = None,
    ) -> NDArray[np.float32]:
        """Degrade a picture.

        Args:
          clean: RGB (H, W, 3), float32 in [0, 1].
          rng: draws the noise and all else there is for each pixel.
          numbers: draws chain and numbers; None: `rng` does, before the rest.

        Returns:
          float32, the shape of `clean`; not clipped where the last step does not.
        """
        numbers = rng if numbers is None else numbers
        chain = self.chains[numbers.integers(len(self.chains)) if len(self.chains) > 1 else 0]
        drawn = [step.draw(numbers) for step in chain]
        for step, values in zip(chain, drawn, strict=True):
            clean = step.kind.apply(clean, *values, rng=rng)
        return clean


def _step(text: str, whole: str) -> Step:
    found = _STEP.fullmatch(text)
    if not found:
        raise UserError(
            f"degradation is {whole!r}; {text.strip()!r} is not a step like gaussian(0..55)"
        )
    name, given = found[1], [part for part in (found[2] or "").split(",") if part.strip()]
    if name not in KINDS:
        raise UserError(
            f"degradation is {whole!r}; there is no {name!r}, the steps are {listed(sorted(KINDS))}"
        )
    kind = KINDS[name]
    if len(given) != len(kind.ranges):
        names = ", ".join(name for name, *_ in kind.ranges)
        raise UserError(f"degradation is {whole!r}; {name} takes {names or 'no numbers'}")
    return Step(
        kind,
        tuple(_range(part, *rule, whole) for part, rule in zip(given, kind.ranges, strict=True)),
    )


def _range(text: str, name: str, least: float, most: float, whole: str) -> tuple[float, float]:
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high or low)
    except ValueError:
        ends = math.nan, math.nan
    if not least <= ends[0] <= ends[1] <= most or not math.isfinite(ends[1]):
        most_words = "" if most == math.inf else f" and at most {most:g}"
        raise UserError(
            f"degradation is {whole!r}; {name} is {text.strip()!r}; it must be a number or"
            f" low..high, at least {least:g}{most_words}"
        )
    return ends
