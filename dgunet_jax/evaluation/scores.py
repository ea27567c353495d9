"""Scores of an image and of a data set, and the files that hold them."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.images import to_uint8
from dgunet_jax.metrics import (
    aligned_scores,
    psnr,
    ssim_uniform,
    ssim_volume,
    ssim_wang,
    studio_luma,
)
from dgunet_jax.system.errors import counted, csv_cell
from dgunet_jax.system.files import replacing

RESULTS = "results.json"


class Scores(NamedTuple):
    """PSNR in dB and SSIM; infinite and 1 for equal images, if they are rounded to 8 bits.

    Attributes:
      psnr, ssim: of what is restored.
      input: PSNR of the input; None if that is not an image of the target's size.
    """

    psnr: float
    ssim: float
    input: float | None = None

    @property
    def gain(self) -> float | None:
        """PSNR of what is restored less that of the input, in dB; None if either is infinite."""
        if self.input is None or math.inf in (self.psnr, self.input):
            return None
        return self.psnr - self.input

    def __str__(self) -> str:
        gain = "" if self.gain is None else f", gain {self.gain:+.3f} dB"
        return f"{self.psnr:.3f} dB, SSIM {self.ssim:.4f}{gain}"


def compare(
    protocol: Protocol,
    restored: NDArray[np.floating],
    target: NDArray[np.uint8],
    given: NDArray[np.floating] | None = None,
) -> Scores:
    """Score an image as `measure` and `rounded` of a protocol say.

    Args:
      protocol: one that has targets.
      restored: (H, W, C), floating point, nominally in [0, 1]; it is clamped to that.
      target: the same shape, all values of 8 bits.
      given: the input, like `restored`; None, or of another shape, if it is not such an image.

    Raises:
      UserError: a value is not finite, or the images cannot be aligned.
    """
    input_psnr = None
    if given is not None and given.shape == target.shape and np.isrealobj(given):
        input_psnr = _measured(protocol, given, target, only_psnr=True)[0]
    return Scores(*_measured(protocol, restored, target), input_psnr)


def _measured(
    protocol: Protocol,
    image: NDArray[np.floating],
    target: NDArray[np.uint8],
    *,
    only_psnr: bool = False,
) -> tuple[float, float]:
    """Return PSNR and SSIM; with `only_psnr` SSIM may be NaN, which takes less time."""
    rounded = to_uint8(image)
    if protocol.measure == "aligned":
        return aligned_scores(rounded, target)
    if protocol.measure == "luma":
        pair, ssim = (studio_luma(rounded), studio_luma(target)), ssim_wang
        return psnr(*pair, peak=255), math.nan if only_psnr else ssim(*pair)
    pair = rounded, target
    if not protocol.rounded:
        clamped = 255 * image.astype(np.float64).clip(0, 1)
        pair = clamped, target.astype(np.float64)
    ssim = ssim_volume if protocol.measure == "rgb_volume" else ssim_uniform
    return psnr(*pair, peak=255), math.nan if only_psnr else ssim(*pair, peak=255)


def mean(scores: Sequence[Scores]) -> Scores | None:
    """Return the means, the same in any order; None of nothing, and of inputs if one has none."""
    if not scores:
        return None
    inputs = [each.input for each in scores if each.input is not None]

    def of(values: Iterable[float]) -> float:
        return math.fsum(values) / len(scores)

    given = of(inputs) if len(inputs) == len(scores) else None
    return Scores(of(each.psnr for each in scores), of(each.ssim for each in scores), given)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of a data set.

    Attributes:
      protocol: how they were computed.
      label: what restored the images.
      images: names and scores, by name; None where the benchmark's server scores.
      failures: one line for each image that has none.
      provenance: what they were made with; JSON values.
      limit: images that were asked for; None: all.
      bundled: files of a submission that are complete; None where the scores are computed here.
    """

    protocol: Protocol
    label: str
    images: Sequence[tuple[str, Scores | None]]
    failures: Sequence[str]
    provenance: Mapping[str, Any]
    limit: int | None = None
    bundled: Sequence[str] | None = None

    @property
    def scored(self) -> dict[str, Scores]:
        """The scores of the images that have some, by name."""
        return {name: scores for name, scores in self.images if scores is not None}

    @property
    def mean(self) -> Scores | None:
        """The means over the images; None if there are none."""
        return mean([*self.scored.values()])

    @property
    def complete(self) -> bool:
        """Whether they are all images of the data set."""
        return self.protocol.count in (None, len(self.images))

    def description(self) -> str:
        """Return the protocol's description, and that results were read from files."""
        described = self.protocol.describe()
        if "restored" not in self.provenance or self.protocol.rounded:
            return described
        return f"{described}; restored pictures are read from files, rounded to their depth"

    def scope(self) -> str:
        """Return how much of the data set was restored, and scored."""
        count = len(self.images)
        words = counted(count, "picture")
        if not self.complete:
            words = f"{count} of the {self.protocol.count} pictures"
        if self.bundled is not None:
            words += f", not scored here; {len(self.bundled)} files in bundled/"
        return words + (f", {len(self.failures)} failed" if self.failures else "")

    def write(self, folder: Path) -> None:
        """Write results.json and images.csv."""
        content = {
            "protocol": self.protocol.name,
            "title": self.protocol.title,
            "description": self.description(),
            "model": self.label,
            "mean": as_json(self.mean),
            "count": len(self.images),
            "expected_count": self.protocol.count,
            "limit": self.limit,
            "published": [dataclasses.asdict(each) for each in self.protocol.published],
            "failures": self.failures,
            "bundled": self.bundled,
            "images": [{"name": name, **as_json(scores)} for name, scores in self.images],
            "provenance": self.provenance,
        }
        write_json(folder / RESULTS, content)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("name", *Scores._fields, "gain"))
        nothing = [None] * (len(Scores._fields) + 1)
        table.writerows(
            (csv_cell(name), *((*scores, scores.gain) if scores else nothing))
            for name, scores in self.images
        )
        with replacing(folder / "images.csv") as file:
            file.write(text.getvalue().encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


def as_json(scores: Scores | None) -> dict[str, Any]:
    """Return the scores and the gain; JSON has no infinity, so that is the string "Infinity"."""
    values = dict.fromkeys(Scores._fields) if scores is None else scores._asdict()
    values |= {"gain": scores and scores.gain}
    return {key: "Infinity" if value == math.inf else value for key, value in values.items()}
