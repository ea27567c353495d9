"""Tables, figures and the page of an evaluation."""

import base64
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.evaluation.protocols import Protocol, Published, Suite
from dgunet_jax.evaluation.samples import Restored, to_float
from dgunet_jax.evaluation.scores import Evaluation, Scores
from dgunet_jax.images import jpeg, png
from dgunet_jax.images.picture import Picture, to_uint8
from dgunet_jax.system.errors import printable
from dgunet_jax.system.files import replacing
from dgunet_jax.system.page import html_page


class Row(NamedTuple):
    """A line of a table, as text."""

    label: str
    psnr: str
    ssim: str
    source: str


def rows(evaluation: Evaluation) -> list[Row]:
    """Ours, then what is published."""
    ours = _row(evaluation.label, evaluation.mean, evaluation.scope())
    return [ours, *map(_published, evaluation.protocol.published)]


def suite_rows(
    suite: Suite, evaluations: Sequence[tuple[str, Evaluation]], average: Scores | None
) -> list[Row]:
    """Every data set's means, their average, and the published averages."""
    ours = [_row(folder, each.mean, each.scope()) for folder, each in evaluations]
    scope = f"{len(evaluations)} of {len(suite.members)} data sets"
    incomplete = sum(not each.complete for _, each in evaluations)
    scope += f", {incomplete} of them incomplete" if incomplete else ""
    return [*ours, _row("average", average, scope), *map(_published, suite.published)]


def header(evaluation: Evaluation) -> str:
    protocol = evaluation.protocol
    return f"{protocol.title} (protocol {protocol.name}): {evaluation.description()}"


def table(evaluation: Evaluation) -> str:
    """A data set's table for a terminal."""
    return text(header(evaluation), rows(evaluation))


def text(title: str, lines: Sequence[Row]) -> str:
    """A table for a terminal."""
    width = max(len(line.label) for line in lines)
    body = [f"{'':{width}}  PSNR dB    SSIM"]
    for line in lines:
        body.append(f"{line.label:{width}}  {line.psnr:>7}  {line.ssim:>6}  {line.source}".rstrip())
    return "\n".join([title, *body])


def psnr_text(psnr: float) -> str:
    return f"{psnr:.3f}"


def ssim_text(ssim: float) -> str:
    return f"{ssim:.4f}"


def _published(published: Published) -> Row:
    ssim = "" if published.ssim is None else _as_stated(published.ssim, 3)
    label = f"{published.model}, published"
    return Row(label, _as_stated(published.psnr, 2), ssim, published.source)


def _as_stated(value: float, digits: int) -> str:
    """With as many digits as papers give, or one more where it has one."""
    return f"{value:.{digits if round(value, digits) == value else digits + 1}f}"


def _row(label: str, scores: Scores | None, source: str) -> Row:
    if scores is None:
        return Row(label, "–", "–", source)
    return Row(label, psnr_text(scores.psnr), ssim_text(scores.ssim), source)


LARGEST_ERROR = 0.1  # where the colours of an error map end
_LARGEST_SIDE = 960  # pixels; what is larger is shrunk
_LARGEST_PNG = 2**16  # pixels; what is larger becomes JPEG


def figures(restored: Restored, sampled: bool = False) -> list[tuple[str, str]]:
    """Input, restored picture, target and error map: what each is, and its data URI.

    What was `sampled` has no input that is a picture; some data sets have no targets.
    """
    shown = [] if sampled else [("input", to_uint8(restored.degraded))]
    shown += [("restored", to_uint8(restored.image))]
    if restored.target is not None:
        error = error_map(restored.image, to_float(restored.target))
        shown += [("target", restored.target), ("error", error)]
    return [(what, _data_uri(pixels)) for what, pixels in shown]


def error_map(image: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The mean absolute error of the channels, black at 0, brightest at `LARGEST_ERROR` and above.

    Args:
      image: (H, W, C), clamped to [0, 1] first.
      target: the same shape.

    Returns:
      (H, W, 3), RGB.
    """
    error = np.abs(image.clip(0, 1) - target).mean(axis=2) / LARGEST_ERROR
    return colormaps["inferno"](error.clip(0, 1), bytes=True)[..., :3]


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    height, width = pixels.shape[:2]
    shrink = max(height, width) / _LARGEST_SIDE
    if shrink > 1:
        size = max(1, round(width / shrink)), max(1, round(height / shrink))
        grey = pixels.shape[2] == 1
        image = Image.fromarray(pixels[..., 0] if grey else pixels)
        pixels = np.asarray(image.resize(size, Image.Resampling.BOX))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
    picture = Picture(pixels)
    small = pixels.shape[0] * pixels.shape[1] <= _LARGEST_PNG
    kind, content = ("png", png.encode(picture)) if small else ("jpeg", jpeg.encode(picture))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


STYLE = """
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
.sortable th { cursor: pointer; user-select: none; }
.sortable th[aria-sort=ascending]::after { content: " \\25B2"; }
.sortable th[aria-sort=descending]::after { content: " \\25BC"; }
.ours { font-weight: 600; }
.strip { display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; }
.strip figure { margin: 0; }
.strip img { width: 100%; image-rendering: auto; cursor: zoom-in; }
.strip.large { grid-template-columns: 1fr; }
.strip.large img { cursor: zoom-out; }
figcaption { color: #555; font-size: .85rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .8rem; }
"""

SCRIPT = """
for (const head of document.querySelectorAll(".sortable th")) {
  head.addEventListener("click", () => {
    const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.value;
    const number = head.classList.contains("number");
    const order = (a, b) => number ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b));
    const rows = [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a));
    body.append(...rows);
  });
}
for (const strip of document.querySelectorAll(".strip"))
  strip.addEventListener("click", () => strip.classList.toggle("large"));
"""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    shown: Mapping[str, Sequence[str]],
    pictures: Mapping[str, Restored],
) -> None:
    """Writes report.html.

    Args:
      folder: where.
      evaluation: what it reports.
      shown: names of the pictures to show, by the title above them.
      pictures: of these names; one that is missing is not shown.
    """
    with replacing(folder / "report.html") as file:
        file.write(_page(evaluation, shown, pictures).encode())


def _page(
    evaluation: Evaluation,
    shown: Mapping[str, Sequence[str]],
    pictures: Mapping[str, Restored],
) -> str:
    protocol, scores = evaluation.protocol, dict(evaluation.scored)
    hint = (
        f"<p class=note>Click to enlarge. The error map is the mean absolute error of the channels,"
        f" black at 0, brightest from {LARGEST_ERROR:g} of the full range on.</p>"
    )
    parts = [
        f"<p class=note>{html.escape(header(evaluation))}</p>",
        _summary(rows(evaluation)),
        _failures(evaluation.failures),
        hint if pictures else "",
        *(_strips(protocol, title, names, scores, pictures) for title, names in shown.items()),
        _images(evaluation.scored),
        f"<h2>Made with</h2><pre>{html.escape(json.dumps(evaluation.provenance, indent=1))}</pre>",
    ]
    title = f"{evaluation.protocol.title}: {evaluation.label}"
    return html_page(title, parts, STYLE, SCRIPT)


def _summary(rows: Iterable[Row]) -> str:
    lines = []
    for i, row in enumerate(rows):
        lines.append(
            f"<tr{'' if i else ' class=ours'}><td>{html.escape(row.label)}</td>"
            f"<td class=number>{row.psnr}</td>"
            f"<td class=number>{row.ssim}</td>"
            f"<td>{html.escape(row.source)}</td></tr>"
        )
    return (
        "<table><thead><tr><th></th><th class=number>PSNR (dB)</th><th class=number>SSIM</th>"
        f"<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _failures(failures: Sequence[str]) -> str:
    if not failures:
        return ""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in failures)
    return f"<h2>Without a score ({len(failures)})</h2><ul>{lines}</ul>"


def _strips(
    protocol: Protocol,
    title: str,
    names: Sequence[str],
    scores: Mapping[str, Scores],
    pictures: Mapping[str, Restored],
) -> str:
    parts = []
    for name in names:
        if name in pictures:
            images = "".join(
                f'<figure><img alt="{html.escape(printable(f"{what} of {name}"))}" src="{source}">'
                f"<figcaption>{what}</figcaption></figure>"
                for what, source in figures(pictures[name], sampled=protocol.ratio is not None)
            )
            told = ""
            if name in scores:
                psnr, ssim = scores[name]
                told = f": {psnr_text(psnr)} dB, SSIM {ssim_text(ssim)}"
            parts.append(
                f"<p><b>{html.escape(printable(name))}</b>{told}</p><div class=strip>{images}</div>"
            )
    return f"<h2>{title}</h2>{''.join(parts)}" if parts else ""


def _images(images: Sequence[tuple[str, Scores]]) -> str:
    if not images:
        return ""

    def cell(value: float, text: str) -> str:
        key = "Infinity" if math.isinf(value) else repr(value)
        return f'<td class=number data-value="{key}">{text}</td>'

    lines = "".join(
        f'<tr><td data-value="{shown}">{shown}</td>'
        + cell(scores.psnr, psnr_text(scores.psnr))
        + cell(scores.ssim, ssim_text(scores.ssim))
        + "</tr>\n"
        for name, scores in images
        for shown in [html.escape(printable(name))]
    )
    return (
        "<h2>All pictures</h2><p class=note>Click a heading to sort.</p>"
        "<table class=sortable id=images><thead><tr><th>name</th><th class=number>PSNR (dB)</th>"
        f"<th class=number>SSIM</th></tr></thead><tbody>\n{lines}</tbody></table>"
    )
