"""Tables, figures and the page of an evaluation."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation.protocols import Published, Suite
from dgunet_jax.evaluation.samples import RestoredSample
from dgunet_jax.evaluation.scores import Evaluation, Scores
from dgunet_jax.images import to_uint8
from dgunet_jax.system.errors import printable
from dgunet_jax.system.files import replacing
from dgunet_jax.system.page import render

LARGEST_ERROR = 0.1  # where the colours of an error map end
_LARGEST_SIDE = 960  # pixels; larger images are shrunk
_LARGEST_PNG = 2**16  # pixels; larger images become JPEG


class Row(NamedTuple):
    """A line of a table, as text."""

    label: str
    psnr: str
    ssim: str
    source: str
    gain: str = ""


def rows(evaluation: Evaluation) -> list[Row]:
    """Return our means, those of the inputs, then the published ones."""
    ours, found = _row(evaluation.label, evaluation.mean, evaluation.scope()), evaluation.mean
    given = []
    if found is not None and found.input is not None:
        given = [Row("input", f"{found.input:.3f}", "", "")]
    return [ours, *given, *map(_published, evaluation.protocol.published)]


def suite_rows(
    suite: Suite, evaluations: Sequence[tuple[str, Evaluation]], average: Scores | None
) -> list[Row]:
    """Return every data set's means, their average, and the published averages."""
    ours = [_row(folder, each.mean, each.scope()) for folder, each in evaluations]
    scope = f"{len(evaluations)} of {len(suite.members)} data sets"
    incomplete = sum(not each.complete for _, each in evaluations)
    scope += f", {incomplete} of them incomplete" if incomplete else ""
    return [*ours, _row("average", average, scope), *map(_published, suite.published)]


def header(evaluation: Evaluation) -> str:
    protocol = evaluation.protocol
    return f"{protocol.title} (protocol {protocol.name}): {evaluation.description()}"


def data_set_table(evaluation: Evaluation) -> str:
    """Return the table of one data set."""
    return table(header(evaluation), rows(evaluation))


def table(title: str, lines: Sequence[Row]) -> str:
    """Return a table for a terminal."""
    width = max(len(line.label) for line in lines)
    gains = any(line.gain for line in lines)
    body = [f"{'':{width}}  PSNR dB    SSIM{'    gain' if gains else ''}"]
    for line in lines:
        gain = f"  {line.gain:>6}" if gains else ""
        numbers = f"{line.psnr:>7}  {line.ssim:>6}{gain}"
        body.append(f"{line.label:{width}}  {numbers}  {line.source}".rstrip())
    return "\n".join([title, *body])


def _published(published: Published) -> Row:
    ssim = "" if published.ssim is None else _as_stated(published.ssim, 3)
    label = f"{published.model}, published"
    return Row(label, _as_stated(published.psnr, 2), ssim, published.source)


def _as_stated(value: float, digits: int) -> str:
    """Return a number with as many digits as papers give, or one more where it has one."""
    return f"{value:.{digits if round(value, digits) == value else digits + 1}f}"


def _row(label: str, scores: Scores | None, source: str) -> Row:
    if scores is None:
        return Row(label, "–", "–", source)
    gain = "" if scores.gain is None else f"{scores.gain:+.3f}"
    return Row(label, f"{scores.psnr:.3f}", f"{scores.ssim:.4f}", source, gain)


def figures(restored: RestoredSample, sampled: bool = False) -> list[tuple[str, str]]:
    """Return names and data URIs of input, restored image, target and error map.

    What was `sampled` has no input that is an image; some data sets have no targets.
    """
    shown = [] if sampled else [("input", to_uint8(restored.degraded))]
    shown += [("restored", to_uint8(restored.image))]
    if restored.target is not None:
        error = error_map(restored.image, unit_range(restored.target))
        shown += [("target", restored.target), ("error", error)]
    return [(what, _data_uri(pixels)) for what, pixels in shown]


def error_map(image: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the mean absolute error of the channels in colours, black at 0.

    They are brightest at `LARGEST_ERROR` and above.

    Args:
      image: (H, W, C), clamped to [0, 1] first.
      target: the same shape.

    Returns:
      (H, W, 3), RGB.
    """
    error = np.abs(image.clip(0, 1) - target).mean(axis=2) / LARGEST_ERROR
    return colormaps["inferno"](error.clip(0, 1), bytes=True)[..., :3]


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    image, file = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), io.BytesIO()
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.BOX, reducing_gap=None)
    kind = "png" if image.width * image.height <= _LARGEST_PNG else "jpeg"
    image.save(file, kind, quality=95, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def write_report(
    folder: Path,
    evaluation: Evaluation,
    shown: Mapping[str, Sequence[str]],
    restored: Mapping[str, RestoredSample],
) -> None:
    """Write report.html.

    Args:
      folder: where.
      evaluation: what it reports.
      shown: names of the samples to show, by the title above them.
      restored: samples of these names; one that is missing is not shown.
    """
    protocol, scored = evaluation.protocol, evaluation.scored

    def strip(name: str) -> dict[str, Any]:
        return {
            "name": printable(name),
            "scores": scored.get(name),
            "figures": figures(restored[name], sampled=protocol.ratio is not None),
        }

    strips = {
        title: [strip(each) for each in names if each in restored] for title, names in shown.items()
    }
    page = render(
        "evaluation.html",
        title=f"{protocol.title}: {evaluation.label}",
        header=header(evaluation),
        rows=rows(evaluation),
        failures=evaluation.failures,
        largest_error=f"{LARGEST_ERROR:g}",
        strips={title: each for title, each in strips.items() if each},
        images=[(printable(name), scores) for name, scores in scored.items()],
        provenance=json.dumps(evaluation.provenance, indent=1),
    )
    with replacing(folder / "report.html") as file:
        file.write(page.encode())
