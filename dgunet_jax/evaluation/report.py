"""Tables, figures and the page of an evaluation."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.data.transforms import unit_range
from dgunet_jax.evaluation.protocols import Published, Suite
from dgunet_jax.evaluation.samples import RestoredSample
from dgunet_jax.evaluation.scores import Evaluation, Scores
from dgunet_jax.evaluation.tables import Table
from dgunet_jax.images import to_uint8
from dgunet_jax.system.errors import printable
from dgunet_jax.system.files import replacing
from dgunet_jax.system.page import render

LARGEST_ERROR = 0.1  # where the colours of an error map end
_LARGEST_SIDE = 960  # pixels; larger images are shrunk
_LARGEST_PNG = 2**16  # pixels; larger images become JPEG


_HEADS = ("", "PSNR dB", "SSIM", "gain dB", "")


def header(evaluation: Evaluation) -> str:
    protocol = evaluation.protocol
    return f"{protocol.title} (protocol {protocol.name}): {evaluation.description()}"


def data_set_table(evaluation: Evaluation) -> Table:
    """Return our means, those of the inputs, then the published ones."""
    ours, found = _line(evaluation.label, evaluation.mean, evaluation.scope()), evaluation.mean
    given = []
    if found is not None and found.input is not None:
        given = [("input", f"{found.input:.3f}", "", "", "")]
    lines = [ours, *given, *map(_published, evaluation.protocol.published)]
    return Table(header(evaluation), _HEADS, lines).shortened()


def suite_table(
    suite: Suite, evaluations: Mapping[str, Evaluation], average: Scores | None
) -> Table:
    """Return every data set's means, their average, and the published averages."""
    ours = [_line(folder, each.mean, each.scope()) for folder, each in evaluations.items()]
    scope = f"{len(evaluations)} of {len(suite.members)} data sets"
    incomplete = sum(not each.complete for each in evaluations.values())
    scope += f", {incomplete} of them incomplete" if incomplete else ""
    lines = [*ours, _line("average", average, scope), *map(_published, suite.published)]
    return Table(f"{suite.title} ({suite.name})", _HEADS, lines).shortened()


def stated(published: Published) -> tuple[str, str]:
    """Return PSNR and SSIM with the digits they were published with; "" where there is none."""
    ssim = "" if published.ssim is None else _as_stated(published.ssim, 3)
    return _as_stated(published.psnr, 2), ssim


def _published(published: Published) -> tuple[str, ...]:
    return (f"{published.model}, published", *stated(published), "", published.source)


def _as_stated(value: float, digits: int) -> str:
    """Return a number with as many digits as papers give, or one more where it has one."""
    return f"{value:.{digits if round(value, digits) == value else digits + 1}f}"


def _line(label: str, scores: Scores | None, source: str) -> tuple[str, ...]:
    if scores is None:
        return label, "–", "–", "", source
    gain = "" if scores.gain is None else f"{scores.gain:+.3f}"
    return label, f"{scores.psnr:.3f}", f"{scores.ssim:.4f}", gain, source


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
    """Write report.html, and its table to table.md and table.tex.

    Args:
      folder: where.
      evaluation: what it reports.
      shown: names of the samples to show, by the title above them.
      restored: samples of these names; one that is missing is not shown.
    """
    protocol, scored, table = evaluation.protocol, evaluation.scored, data_set_table(evaluation)
    table.write(folder)

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
        table=table,
        failures=evaluation.failures,
        largest_error=f"{LARGEST_ERROR:g}",
        strips={title: each for title, each in strips.items() if each},
        images=[(printable(name), scores) for name, scores in scored.items()],
        provenance=json.dumps(evaluation.provenance, indent=1),
    )
    with replacing(folder / "report.html") as file:
        file.write(page.encode())


def write_overview(
    folder: Path,
    tables: Sequence[Table],
    reports: Mapping[str, str],
    failures: Sequence[str],
    provenance: Mapping[str, Any],
) -> None:
    """Write a report.html of several evaluations, and its first table to table.md and table.tex.

    Args:
      folder: where.
      tables: one or more.
      reports: where the reports of the evaluations lie, relative to the folder, by their names.
      failures: one line for each picture or data set that has no scores.
      provenance: what the scores were made with; JSON values.
    """
    tables[0].write(folder)
    page = render(
        "overview.html",
        title=tables[0].title,
        tables=tables,
        reports={printable(name): path for name, path in reports.items()},
        failures=failures,
        provenance=json.dumps(provenance, indent=1),
    )
    with replacing(folder / "report.html") as file:
        file.write(page.encode())
