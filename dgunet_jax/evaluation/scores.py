"""Scores of a picture and of a data set, and the files that hold them."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.evaluation.protocols import Measure, Protocol, Published
from dgunet_jax.images.picture import to_uint8
from dgunet_jax.metrics._alignment import aligned_scores
from dgunet_jax.metrics._psnr import psnr, studio_luma
from dgunet_jax.metrics._ssim import GAUSSIAN_SIDE, SIDE, ssim_uniform, ssim_volume, ssim_wang
from dgunet_jax.system.errors import UserError, counted, csv_cell
from dgunet_jax.system.files import replacing

# The least height and width, in pixels, that each can be computed of: the window's.
SMALLEST: dict[Measure, int] = {
    "rgb": SIDE,
    "rgb_volume": 1,
    "luma": GAUSSIAN_SIDE,
    "aligned": GAUSSIAN_SIDE,
    "grey": SIDE,
    "server": 1,
}


class Scores(NamedTuple):
    """PSNR in dB and SSIM; infinite and 1 for equal pictures, if they are rounded to 8 bits."""

    psnr: float
    ssim: float


def compare(
    protocol: Protocol, restored: NDArray[np.floating], target: NDArray[np.uint8]
) -> Scores:
    """Scores a picture.

    Args:
      protocol: `measure` and `rounded` say what is computed.
      restored: (H, W, C), floating point, nominally in [0, 1]; it is clamped to that.
      target: the same shape, all values of 8 bits.

    Raises:
      UserError: a value is not finite, the shapes differ, or the picture is too small for the
        measure's window.
    """
    if restored.shape != target.shape:
        sizes = (f"{width}×{height}" for height, width in (restored.shape[:2], target.shape[:2]))
        raise UserError("it is {} pixels large, its target {}".format(*sizes))
    rounded = to_uint8(restored)
    if protocol.measure == "aligned":
        return Scores(*aligned_scores(rounded, target))
    if protocol.measure == "luma":
        lumas = studio_luma(rounded), studio_luma(target)
        return Scores(psnr(*lumas, peak=255), ssim_wang(*lumas))
    pair = rounded, target
    if not protocol.rounded:
        clamped = 255 * restored.astype(np.float64).clip(0, 1)
        pair = clamped, target.astype(np.float64)
    ssim = ssim_volume if protocol.measure == "rgb_volume" else ssim_uniform
    return Scores(psnr(*pair, peak=255), ssim(*pair, peak=255))


RESULTS = "results.json"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of a data set's pictures.

    Attributes:
      protocol: how they were computed.
      label: what restored the pictures.
      images: names and scores, by name; None where nobody here can tell.
      failures: one line for each picture that has none.
      provenance: what they were made with; JSON values.
      limit: pictures that were asked for; None: all.
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
    def scored(self) -> list[tuple[str, Scores]]:
        """The images that have scores."""
        return [(name, scores) for name, scores in self.images if scores is not None]

    @property
    def mean(self) -> Scores | None:
        """The means over the pictures; None if there are none."""
        return mean([scores for _, scores in self.scored])

    @property
    def complete(self) -> bool:
        """Whether they are all pictures of the data set."""
        return self.protocol.count in (None, len(self.images))

    def description(self) -> str:
        """The protocol's, and what is else about restored pictures that come from files."""
        described = self.protocol.describe()
        if "restored" not in self.provenance or self.protocol.rounded:
            return described
        return f"{described}; restored pictures are read from files, rounded to their depth"

    def scope(self) -> str:
        """How much of the data set was restored, and scored."""
        count = len(self.images)
        words = counted(count, "picture")
        if not self.complete:
            words = f"{count} of the {self.protocol.count} pictures"
        if self.bundled is not None:
            words += f", not scored here; {len(self.bundled)} files in bundled/"
        return words + (f", {len(self.failures)} failed" if self.failures else "")

    def as_json(self) -> dict[str, Any]:
        protocol = self.protocol
        return {
            "protocol": protocol.name,
            "title": protocol.title,
            "description": self.description(),
            "model": self.label,
            "mean": numbers(self.mean),
            **extent(protocol, self.images, self.limit),
            "published": [published_json(each) for each in protocol.published],
            "failures": list(self.failures),
            "bundled": None if self.bundled is None else list(self.bundled),
            "images": [{"name": name, **numbers(scores)} for name, scores in self.images],
            "provenance": dict(self.provenance),
        }

    def write(self, folder: Path) -> None:
        """Write results.json and images.csv."""
        write_json(folder / RESULTS, self.as_json())
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("name", *Scores._fields))
        table.writerows((csv_cell(name), *(scores or (None, None))) for name, scores in self.images)
        with replacing(folder / "images.csv") as file:
            file.write(text.getvalue().encode())


def mean(scores: Sequence[Scores]) -> Scores | None:
    """The means of PSNR and SSIM, the same in any order; None of nothing."""
    if not scores:
        return None
    return Scores(*(math.fsum(column) / len(scores) for column in zip(*scores, strict=True)))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


def published_json(published: Published) -> dict[str, Any]:
    return dataclasses.asdict(published)


def extent(protocol: Protocol, images: Sequence[Any], limit: int | None) -> dict[str, Any]:
    """How many pictures there are, how many the data set has, and how many were asked for."""
    return {"count": len(images), "expected_count": protocol.count, "limit": limit}


def numbers(scores: Scores | None) -> dict[str, Any]:
    """PSNR and SSIM; JSON has no infinity, so that is the string "Infinity"."""
    if scores is None:
        return dict.fromkeys(Scores._fields)
    return {
        key: "Infinity" if math.isinf(value) else value for key, value in scores._asdict().items()
    }
