"""Degradations of clean pictures as texts: what is drawn, and in what order it is applied.

A text says what is drawn, as in ``"gaussian(0..55) | round; camera(0.0001..0.01) | jpeg(70..95)"``:
chains of steps, of which each sample takes one, all equally likely. Steps are applied from left to
right. A number stands for itself and ``low..high`` for a draw between the two.

Where chains begin with an operator, as in ``"motion_blur(15, 5..15) | gaussian(0..10)"``, it is
known: the network is given it with what it measures. Then one chain is drawn for a whole batch, and
only Gaussian noise may follow. An operator of one's own is ``"module:function(1..3)"``, a function
of a generator, the image's shape (H, W, C) and the numbers that are drawn; see `measurements`.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data import measurements, simulation
from dgunet_jax.data.measurements import Measured
from dgunet_jax.system.errors import UserError, listed
from dgunet_jax.system.files import imported

_STEP = re.compile(r"\s*([\w.]+:?\w*)\s*(?:\(([^()]*)\))?\s*")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A function, with the ranges of its numbers.

    Attributes:
      apply: of a picture, numbers and a generator `rng`; or, of an operator, of a generator, an
        image's shape and numbers.
      ranges: of each number: its name, least and greatest value; None of any numbers.
      logarithmic: of how many numbers, the first ones, logarithms are drawn uniformly.
      operator: whether it makes an operator.
      fixed: how many numbers, the first ones, are the same in all draws.
      of_colours: whether it needs three channels.
    """

    apply: Callable[..., Any]
    ranges: tuple[tuple[str, float, float], ...] | None = ()
    logarithmic: int = 0
    operator: bool = False
    fixed: int = 0
    of_colours: bool = False


KINDS = {
    "clean": Kind(simulation.left_clean),
    "gaussian": Kind(simulation.gaussian_noise, (("sigma", 0, math.inf),)),
    "camera": Kind(simulation.camera_noise, (("shot", 1e-6, 1),), logarithmic=1, of_colours=True),
    "snapshot": Kind(
        simulation.snapshot_noise,
        (("shot", 1e-6, 1), ("reduction", 0, 1)),
        logarithmic=1,
        of_colours=True,
    ),
    "jpeg": Kind(simulation.jpeg, (("quality", 1, 100),), of_colours=True),
    "round": Kind(simulation.rounded),
    "shake": Kind(simulation.shake, (("length", 0, 100),)),
    "defocus": Kind(simulation.defocus, (("radius", 0, 50),)),
    "soften": Kind(simulation.soften, (("deviation", 0.01, 50),)),
    "rain": Kind(simulation.rain, (("cover", 0, 1), ("length", 1, 200))),
    "haze": Kind(simulation.haze, (("thickness", 0, 10),)),
    "low_light": Kind(simulation.low_light, (("exposure", 1e-4, 1),), logarithmic=1),
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
    "disk_blur": Kind(
        measurements.disk_blur,
        (("side", 1, 255), ("radius", 0, 127)),
        operator=True,
        fixed=1,
    ),
    "mask": Kind(measurements.mask, (("kept", 0, 1),), operator=True),
    "color_mask": Kind(measurements.color_mask, (("kept", 0, 1),), operator=True),
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
        return [
            low if low == high else _between(low, high, rng, place < self.kind.logarithmic)
            for place, (low, high) in enumerate(self.numbers)
        ]


def _between(low: float, high: float, rng: np.random.Generator, logarithmic: bool) -> float:
    if logarithmic:
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
