"""The report of a study: one HTML file that needs no network."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from dgunet_jax.system.page import html_page

TITLES = {
    "stages": "The stages",
    "progress": "Progress",
    "moves": "Which step does the work",
    "gradient": "Is it a gradient?",
    "adjointness": "Is Φᵀ the adjoint of Φ?",
    "steps": "Step sizes",
    "contraction": "Contraction",
    "depth": "Beyond the depth of training",
    "flow": "Gradient flow",
    "attribution": "Where a patch comes from",
}

_EXPLAINED = {
    "stages": "v before and x after the proximal step; below, what is wrong with x or, where the"
    " clean image is not known, what the stage changed, both clamped.",
    "progress": "PSNR of the clamped images, on the part of the picture that was analysed.",
    "moves": "Root mean squares on the scale of the images, [0, 1].",
    "gradient": "The gradient of ½‖Φ(x) − y‖² is the vector-Jacobian product of Φ with its"
    " residual; the step is −ρ Φᵀ(Φ(x) − y). A ratio below 1: it lowers the data term.",
    "adjointness": "|⟨J_Φᵀ u, w⟩ − ⟨u, J_Φ w⟩| over the sum of the two magnitudes; 0 for an adjoint"
    " pair.",
    "steps": "L = ‖J_Φ(x)‖² by Golub–Kahan bidiagonalisation. For a linear Φ with its adjoint,"
    " gradient descent converges for 0 < ρL < 2.",
    "contraction": "Largest singular values of the stages' Jacobians by Golub–Kahan"
    " bidiagonalisation; symmetry of the proximal maps' Jacobians, which true proximal maps have,"
    " from random probes.",
    "depth": "The first stage, then the shared one n times, then the last.",
    "flow": "How a training loss reaches every stage; each use of shared weights counts alone.",
    "attribution": "Derivatives of the mean of the framed patch by the pixels of the picture that"
    " was given, each map on a logarithmic scale of its own, three decades down from its largest"
    " value; and integrated gradients along a path of Gaussian blurs, blue where a pixel raises the"
    " patch.",
}

_OF_STEPS = {
    "stages": "g = Φᵀ(Φ(x) − y), in grey where it is zero, one scale for all stages, makes"
    " v = x − ρ g; ",
    "progress": "The residual at k is that of x before the stage, which its gradient step starts"
    " from. ",
}
"""What is said before that of networks that have gradient steps."""

_STYLE = """
h2 { margin-bottom: .3rem; }
.note { margin-top: 0; }
figure { margin: 0; }
figure img { max-width: 100%; height: auto; }
figcaption { max-width: 50rem; }
table { font-size: .85rem; display: block; overflow-x: auto; }
th, td { padding: .2rem .6rem; text-align: right; font-variant-numeric: tabular-nums;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
"""


def encode(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    return content.getvalue()


def page(
    title: str,
    facts: Sequence[str],
    images: Mapping[str, bytes],
    sentences: Mapping[str, str],
    stages: Sequence[Mapping[str, object]],
) -> str:
    """The whole report.

    Args:
      title: of the page.
      facts: lines under it: what was analysed, and with what.
      images: PNG files by the names of `plots.figures`.
      sentences: what each means, by the same names.
      stages: the numbers, for the table at the end.
    """
    parts = [f"<p class=note>{html.escape(fact)}</p>" for fact in facts]
    for name, content in images.items():
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        caption = html.escape(sentences.get(name, ""))
        note = _EXPLAINED[name]
        if "gradient" in stages[0]:
            note = _OF_STEPS.get(name, "") + note
        parts.append(
            f"<h2 id={name}>{TITLES[name]}</h2><p class=note>{html.escape(note)}</p>"
            f'<figure><img alt="{TITLES[name]}" src="{source}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    parts.append(f"<h2 id=numbers>All numbers</h2>{_table(stages)}")
    return html_page(title, parts, _STYLE)


def _table(stages: Sequence[Mapping[str, object]]) -> str:
    columns = [dict(_flat(stage)) for stage in stages]
    names = [name for name in columns[0] if name != "stage"]
    heads = "".join(f"<th>stage {column['stage']}</th>" for column in columns)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{_number(column[name])}</td>" for column in columns)
        + "</tr>\n"
        for name in names
    )
    return f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _flat(stage: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    found = []
    for name, value in stage.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name} ")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _number(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()
