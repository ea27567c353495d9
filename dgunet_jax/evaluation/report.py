"""The report of an evaluation: one HTML file that needs no network."""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dgunet_jax.evaluation import tables
from dgunet_jax.evaluation.figures import LARGEST_ERROR, figures
from dgunet_jax.evaluation.measures import Scores
from dgunet_jax.evaluation.page import SCRIPT, STYLE
from dgunet_jax.evaluation.protocols import Protocol
from dgunet_jax.evaluation.restored import Restored
from dgunet_jax.evaluation.results import Evaluation
from dgunet_jax.system.errors import printable
from dgunet_jax.system.files import replacing
from dgunet_jax.system.page import html_page


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
        f"<p class=note>{html.escape(tables.header(evaluation))}</p>",
        _summary(tables.rows(evaluation)),
        _failures(evaluation.failures),
        hint if pictures else "",
        *(_strips(protocol, title, names, scores, pictures) for title, names in shown.items()),
        _images(evaluation.scored),
        f"<h2>Made with</h2><pre>{html.escape(json.dumps(evaluation.provenance, indent=1))}</pre>",
    ]
    title = f"{evaluation.protocol.title}: {evaluation.label}"
    return html_page(title, parts, STYLE, SCRIPT)


def _summary(rows: Iterable[tables.Row]) -> str:
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
                told = f": {tables.psnr_text(psnr)} dB, SSIM {tables.ssim_text(ssim)}"
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
        + cell(scores.psnr, tables.psnr_text(scores.psnr))
        + cell(scores.ssim, tables.ssim_text(scores.ssim))
        + "</tr>\n"
        for name, scores in images
        for shown in [html.escape(printable(name))]
    )
    return (
        "<h2>All pictures</h2><p class=note>Click a heading to sort.</p>"
        "<table class=sortable id=images><thead><tr><th>name</th><th class=number>PSNR (dB)</th>"
        f"<th class=number>SSIM</th></tr></thead><tbody>\n{lines}</tbody></table>"
    )
