"""The report of a study: its sections, one HTML file that needs no network, and its numbers."""

import base64
import dataclasses
import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure

from dgunet_jax.analysis import figures, verdicts
from dgunet_jax.analysis.study import Study
from dgunet_jax.system.page import render

Measured = TypeVar("Measured")


@dataclasses.dataclass(frozen=True)
class Section(Generic[Measured]):
    """A section of the report.

    Attributes:
      title: above it.
      measured: returns what the section is about; None where a study does not have it.
      figure: draws it; the function's name is that of the section and of its PNG file.
      verdict: says what it means, if anything.
      note: explains the figure.
      note_on_steps: precedes the note for networks that have gradient steps.
    """

    title: str
    measured: Callable[[Study], Measured | None]
    figure: Callable[[Measured, Study], Figure]
    verdict: Callable[[Measured, Study], str]
    note: str
    note_on_steps: str = ""

    @property
    def name(self) -> str:
        return self.figure.__name__


SECTIONS: tuple[Section[Any], ...] = (
    Section(
        "The stages",
        lambda study: study.x,
        figures.stages,
        lambda estimates, study: "",
        "v before and x after the proximal step; below, the error of x or, where the clean image is"
        " not known, the change by the stage, both clamped.",
        "g = Φᵀ(Φ(x) − y), in grey where it is zero, one scale for all stages, makes v = x − ρ g; ",
    ),
    Section(
        "Progress",
        lambda study: study.progress if study.operators or study.clean is not None else None,
        figures.progress,
        verdicts.progress,
        "PSNR of the clamped images, on the part of the image that was analysed.",
        "The residual at k is that of x before the stage, by the stage's own Φ. ",
    ),
    Section(
        "Which step does the work",
        lambda study: study.progress,
        figures.moves,
        verdicts.moves,
        "Root mean squares on the scale of the images, [0, 1].",
    ),
    Section(
        "Is it a gradient?",
        lambda study: study.operators,
        figures.gradient,
        verdicts.gradient,
        "The gradient of ½‖Φ(x) − y‖² is the vector-Jacobian product of Φ with its residual; the"
        " step is −ρ Φᵀ(Φ(x) − y). A ratio below 1: it lowers the data term.",
    ),
    Section(
        "Is Φᵀ the adjoint of Φ?",
        lambda study: study.operators,
        figures.adjointness,
        verdicts.adjointness,
        "|⟨J_Φᵀ u, w⟩ − ⟨u, J_Φ w⟩| over the sum of the two magnitudes; 0 for an adjoint pair.",
    ),
    Section(
        "Step sizes",
        lambda study: study.operators,
        figures.steps,
        verdicts.steps,
        "L = ‖J_Φ(x)‖² by Golub–Kahan bidiagonalisation. For a linear Φ with its adjoint, gradient"
        " descent converges for 0 < ρL < 2.",
    ),
    Section(
        "Contraction",
        lambda study: study.contraction,
        figures.contraction,
        verdicts.contraction,
        "Largest singular values of the stages' Jacobians by Golub–Kahan bidiagonalisation;"
        " symmetry of the proximal maps' Jacobians, which true proximal maps have, from random"
        " probes.",
    ),
    Section(
        "Beyond the depth of training",
        lambda study: study.depth,
        figures.depth,
        verdicts.depth,
        "The first stage, then the shared one n times, then the last.",
    ),
    Section(
        "Gradient flow",
        lambda study: study.flow,
        figures.flow,
        verdicts.flow,
        "How a training loss reaches every stage; each use of shared weights counts alone.",
    ),
    Section(
        "Where a patch comes from",
        lambda study: study.attribution,
        figures.attribution,
        verdicts.attribution,
        "Derivatives of the mean of the framed patch by the pixels of the image that was given,"
        " each map on a logarithmic scale of its own, three decades down from its largest value;"
        " and integrated gradients along a path of Gaussian blurs, blue where a pixel raises the"
        " patch.",
    ),
)


class Filled(NamedTuple):
    """A section of one study, with its figure as a PNG file and the verdict, which may be ""."""

    name: str
    title: str
    note: str
    png: bytes
    verdict: str

    @property
    def source(self) -> str:
        """The figure as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def fill(study: Study) -> list[Filled]:
    """Return the sections that a study has the measures for, in the order of a report."""
    filled = []
    for section in SECTIONS:
        if (measured := section.measured(study)) is not None:
            png = io.BytesIO()
            section.figure(measured, study).savefig(png, format="png", dpi=130)
            note = (section.note_on_steps if study.operators else "") + section.note
            verdict = section.verdict(measured, study)
            filled.append(Filled(section.name, section.title, note, png.getvalue(), verdict))
    return filled


def page(
    title: str, facts: Sequence[str], sections: Sequence[Filled], stages: Sequence[dict[str, Any]]
) -> str:
    """Return the report as HTML.

    Args:
      title: of the page.
      facts: lines under it: what was analysed, and with what.
      sections: below them.
      stages: the numbers in the table at the end, as `numbers` returns them.
    """
    columns = [dict(_flat(stage)) for stage in stages]
    table = [(name, [_cell(column[name]) for column in columns]) for name in columns[0]]
    return render("analysis.html", title=title, facts=facts, sections=sections, table=table)


def numbers(study: Study) -> dict[str, Any]:
    """Return the numbers of a study by their names in analysis.json; None if not finite."""
    found, flow = study.attribution, study.flow
    groups = {
        "psnr_v": study.v_scores.psnr,
        "ssim_v": study.v_scores.ssim,
        "psnr_x": study.x_scores.psnr,
        "ssim_x": study.x_scores.ssim,
        **vars(study.progress),
        **(vars(study.operators) if study.operators else {}),
    }
    if flow is not None:
        groups["flow"] = {"estimate": flow.estimates, "weights": flow.weights}
    if study.contraction is not None:
        groups["contraction"] = study.contraction
    if found is not None:
        groups["attribution"] = {"radius_50": found.radii[:, 0], "radius_95": found.radii[:, 1]}
    unscored = study.clean is None or study.config.measurements
    return {
        "region": study.region._asdict(),
        "input": None if unscored else _plain(study.input_scores._asdict(), 0),
        "stages": [{"stage": k + 1, **_plain(groups, k)} for k in range(len(study.x))],
        "depth": _plain(study.depth),
        "loss": study.loss,
        "loss_stages": study.loss_stages,
        "flow_cosines": flow and _plain(flow.cosines),
        "attribution": found
        and {
            "crop": found.crop._asdict(),
            "patch": found.patch._asdict(),
            "integrated_gradients_error": _plain(found.error),
        },
    }


def _plain(values: Any, k: int | None = None) -> Any:
    """Return values, or those of index k of all arrays, as what JSON has."""
    if dataclasses.is_dataclass(values):
        values = vars(values)
    if isinstance(values, dict):
        return {name: _plain(each, k) for name, each in values.items()}
    if isinstance(values, np.ndarray):
        return _plain(values.tolist() if k is None else values[k].item())
    if isinstance(values, list):
        return [_plain(each) for each in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _flat(stage: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield a stage's numbers with the group in front of their names, as in "step product"."""
    for name, value in stage.items():
        if isinstance(value, dict):
            yield from ((f"{name} {each}", number) for each, number in value.items())
        elif name != "stage":
            yield name, value


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()
