"""Degradations of clean pictures: pure functions of a picture, numbers and a generator.

A text says what is drawn, as in ``"gaussian(0..55) | round; camera(0.0001..0.01) | jpeg(70..95)"``:
chains of steps, of which each sample takes one, all equally likely. Steps are applied from left to
right. A number stands for itself and ``low..high`` for a draw between the two.

Where chains begin with an operator, as in ``"motion_blur(15, 5..15) | gaussian(0..10)"``, it is
known: the network is given it with what it measures. Then one chain is drawn for a whole batch, and
only Gaussian noise may follow. An operator of one's own is ``"module:function(1..3)"``, a function
of a generator, the image's shape (H, W, C) and the numbers that are drawn; see `measurements`.
"""

import dataclasses
import io
import math
import re
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dgunet_jax.data import measurements
from dgunet_jax.data.measurements import Measured
from dgunet_jax.system.errors import UserError, listed
from dgunet_jax.system.files import imported

_STEP = re.compile(r"\s*([\w.]+:?\w*)\s*(?:\(([^()]*)\))?\s*")


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


def left_clean(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a picture as it is: for networks that sample it themselves."""
    return image


def _bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    return (image * 255).round().clip(0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A function, with the ranges of its numbers.

    Attributes:
      apply: of a picture, numbers and a generator `rng`; or, of an operator, of a generator, an
        image's shape and numbers.
      ranges: of each number: its name, least and greatest value; None of any numbers.
      logarithmic: whether logarithms are drawn uniformly, not numbers.
      operator: whether it makes an operator.
      fixed: how many numbers, the first ones, are the same in all draws.
      of_colours: whether it needs three channels.
    """

    apply: Callable[..., Any]
    ranges: tuple[tuple[str, float, float], ...] | None = ()
    logarithmic: bool = False
    operator: bool = False
    fixed: int = 0
    of_colours: bool = False


KINDS = {
    "clean": Kind(left_clean),
    "gaussian": Kind(gaussian_noise, (("sigma", 0, math.inf),)),
    "camera": Kind(camera_noise, (("shot", 1e-6, 1),), logarithmic=True, of_colours=True),
    "jpeg": Kind(jpeg, (("quality", 1, 100),), of_colours=True),
    "round": Kind(rounded),
    "motion_blur": Kind(
        measurements.motion_blur,
        (("side", 1, 255), ("length", 0, 255)),
        operator=True,
        fixed=1,
    ),
    "gaussian_blur": Kind(
        measurements.gaussian_blur,
        (("side", 1, 255), ("deviation", 0.01, 100)),
        operator=True,
        fixed=1,
    ),
    "mask": Kind(measurements.mask, (("kept", 0, 1),), operator=True),
    "downsample": Kind(measurements.downsample, (("factor", 1, 16),), operator=True, fixed=1),
    "bayer": Kind(measurements.bayer, operator=True),
    "fourier": Kind(measurements.fourier, (("acceleration", 1, 64),), operator=True),
    "sampling": Kind(measurements.sampling, (("ratio", 0.001, 1),), operator=True, fixed=1),
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
        chains = tuple(
            tuple(_step(step, text) for step in chain.split("|")) for chain in text.split(";")
        )
        known = {chain[0].kind.operator for chain in chains}
        if len(known) > 1:
            raise UserError(
                f"degradation is {text!r}; all chains or none must begin with an operator"
            )
        for chain in chains:
            rest = [step.kind for step in chain[1:]]
            if any(kind.operator for kind in rest):
                raise UserError(f"degradation is {text!r}; an operator must be the first step")
            if chain[0].kind.operator and (rest[1:] or rest not in ([], [KINDS["gaussian"]])):
                raise UserError(
                    f"degradation is {text!r}; after an operator only one gaussian step may come"
                )
        return cls(chains)

    @property
    def known(self) -> bool:
        """Whether it is an operator with noise, which the network is given."""
        return self.chains[0][0].kind.operator

    @property
    def clean(self) -> bool:
        """Whether it leaves pictures as they are."""
        return all([step.kind for step in chain] == [KINDS["clean"]] for chain in self.chains)

    @property
    def of_colours(self) -> bool:
        """Whether a step needs three channels."""
        return any(step.kind.of_colours for chain in self.chains for step in chain)

    def measure(
        self,
        shape: tuple[int, ...],
        rng: np.random.Generator,
        chain: int = 0,
    ) -> Measured:
        """Draw what a clean image is measured by, where the degradation is known.

        Args:
          shape: of the image, (H, W, C).
          rng: draws the numbers, the operator and the seed of the noise.
          chain: which chain.
        """
        first, *noise = self.chains[chain]
        values = first.draw(rng)
        with measurements.on_the_host():
            operator = first.kind.apply(rng, shape, *values)
        sigma = noise[0].draw(rng)[0] if noise else 0.0
        seed = rng.integers(2**32, dtype=np.uint32)
        return {
            "operator": operator,
            "sigma": np.asarray(sigma, np.float32),
            "seed": np.asarray(seed),
        }

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
    kind = _loaded(name, whole) if ":" in name else KINDS.get(name)
    if kind is None:
        raise UserError(
            f"degradation is {whole!r}; there is no {name!r}, the steps are {listed(sorted(KINDS))}"
        )
    rules = [("a number", -math.inf, math.inf)] * len(given) if kind.ranges is None else kind.ranges
    if len(given) != len(rules):
        names = ", ".join(name for name, *_ in rules)
        raise UserError(f"degradation is {whole!r}; {name} takes {names or 'no numbers'}")
    numbers = tuple(_range(part, *rule, whole) for part, rule in zip(given, rules, strict=True))
    for (label, *_), (low, high) in zip(rules[: kind.fixed], numbers, strict=False):
        if low != high or (low != round(low) and label != "ratio"):
            raise UserError(f"degradation is {whole!r}; {label} of {name} must be one whole number")
    return Step(kind, numbers)


def _loaded(name: str, whole: str) -> Kind:
    """Return an operator of one's own."""
    try:
        return Kind(imported(name), None, operator=True)
    except UserError as error:
        raise UserError(f"degradation is {whole!r}; {error}") from error


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
