"""Figures of a study: one function for each section, of its measures and the study."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from dgunet_jax.analysis import operators
from dgunet_jax.analysis.stages import Contraction, Flow, Progress
from dgunet_jax.analysis.study import Depth, Image, OperatorMeasures, PatchAttribution, Study
from dgunet_jax.evaluation.report import LARGEST_ERROR, error_map

_WIDTH, _HEIGHT = 6.4, 3.4  # inches, of a panel of curves
_TILE = 1.9  # inches, side of an image
_LOUD = 99.5  # percentile of magnitudes at the end of a scale
_ERRORS = f"0 … {LARGEST_ERROR:g}"
_RMS = "root mean square"


def stages(estimates: list[Image], study: Study) -> Figure:
    """Show g_k, v_k, x_k and its error, or its change, with the stages from left to right."""
    clean, before, empty = study.clean, study.start, ("", None)
    error = empty if clean is None else (f"error, {_ERRORS}", error_map(study.inputs, clean))
    given = f"input{_decibel(study.input_scores.psnr[0])}", study.inputs
    columns = [[empty, given, empty if clean is None else ("clean", clean), error]]
    if study.config.measurements:
        columns = [[empty, empty, ("clean, which is sampled", clean), empty]]
    loud = _loudest(np.stack(study.g))
    for k, (g, v, x) in enumerate(zip(study.g, study.v, estimates, strict=True)):
        size = np.sqrt(np.mean(np.square(g, dtype=np.float64)))
        error = f"|x{k + 1} − x{k}|, {_ERRORS}", error_map(x, before.clip(0, 1))
        if clean is not None:
            error = f"error of x{k + 1}, {_ERRORS}", error_map(x, clean)
        v_title = f"v{k + 1}{_decibel(study.v_scores.psnr[k])}"
        x_title = f"x{k + 1}{_decibel(study.x_scores.psnr[k])}"
        g_cell = f"g{k + 1}, rms {size:.2g}", 0.5 + g / (2 * loud)
        columns.append([g_cell, (v_title, v), (x_title, x), error])
        before = x
    return _tiles(columns if study.operators else [cells[1:] for cells in columns])


class _Panel(NamedTuple):
    """Curves over 1, 2 … by their labels, with grey lines at some levels."""

    ylabel: str
    curves: Mapping[str, ArrayLike]
    levels: Mapping[float, str | None] = {}
    yscale: str = "linear"
    title: str = ""


def progress(measured: Progress, study: Study) -> Figure:
    panels = []
    if study.clean is not None:
        given = study.input_scores.psnr[0]
        curves = {"x, after the proximal step": study.x_scores.psnr}
        if study.operators is not None:
            curves["v, after the gradient step"] = study.v_scores.psnr
        levels = {given: "input"} if np.isfinite(given) else {}
        panels.append(_Panel("PSNR, dB", curves, levels))
    if study.operators is not None:
        panels.append(_Panel(_RMS, {"‖Φₖ(xₖ₋₁) − y‖": measured.residual}))
    return _draw(*panels)


def moves(measured: Progress, study: Study) -> Figure:
    curves = {
        "‖x − v‖, proximal": measured.proximal_move,
        "‖v − x before‖, gradient": measured.gradient_move,
        "‖x − x before‖, both": measured.change,
    }
    return _draw(_Panel(_RMS, curves, {0: None}))


def gradient(measured: OperatorMeasures, study: Study) -> Figure:
    found = measured.gradient
    cosines = {"with the gradient": found.cosine}
    if found.towards_clean is not None and np.isfinite(found.towards_clean).any():
        cosines["of the step with the way to the clean image"] = found.towards_clean
    ratio = {"data term after / before": found.data_ratio}
    return _draw(_Panel("cosine", cosines, {0: None}), _Panel("", ratio, {1: None}, "log"))


def adjointness(measured: OperatorMeasures, study: Study) -> Figure:
    found = measured.adjointness
    curves = {"random directions": found.random, "residuals met in use": found.in_use}
    return _draw(_Panel("adjointness gap", curves, {0: None, 1: None}))


def steps(measured: OperatorMeasures, study: Study) -> Figure:
    found = measured.step
    curves = {"ρL": found.product, "ρ": found.step_size, "L": found.curvature}
    return _draw(_Panel("", curves, {0: None, operators.BOUND: "bound of ρL"}))


def contraction(measured: Contraction, study: Study) -> Figure:
    norms = {"image, memory held": measured.image, "image and memory": measured.state}
    symmetry = {
        "symmetry gap": measured.symmetry_gap,
        "lowest ⟨u, Ju⟩ met": measured.lowest_quotient,
    }
    return _draw(
        _Panel("largest singular value", norms, {1: None}, "log"),
        _Panel("", symmetry, {0: None}, title="Jacobian of the proximal map"),
    )


def depth(measured: Depth, study: Study) -> Figure:
    moving = {"‖xₙ − xₙ₋₁‖": measured.change}
    if measured.residual is not None:
        moving["‖Φ(xₙ₋₁) − y‖"] = measured.residual
    panels = [_Panel(_RMS, moving, yscale="log")]
    if measured.psnr is not None and measured.psnr_result is not None:
        scores = {"result, last stage's": measured.psnr_result, "estimate": measured.psnr}
        panels.append(_Panel("PSNR, dB", scores))
    figure = _draw(*panels)
    for ax in figure.axes:
        ax.axvline(measured.trained, color="gray", linestyle=":", label="in training")
        if measured.diverged_at is not None:
            ax.axvline(measured.diverged_at, color="tab:red", linestyle=":", label="diverged")
        ax.set_xlabel("n, iterations of the shared stage")
        ax.legend(fontsize=8)
    return figure


def flow(measured: Flow, study: Study) -> Figure:
    norms = {"‖∂L/∂x‖": measured.estimates, "‖∂L/∂θ‖": measured.weights}
    panels = [_Panel("", norms, yscale="log")]
    if measured.cosines is None:
        return _draw(*panels)
    figure = _draw(*panels, _Panel("", {}, title="cosines of the uses of the shared weights"))
    ax = figure.axes[1]
    end = len(measured.cosines) + 1.5
    extent = (1.5, end, end, 1.5)  # stages from 2 on, downwards
    image = ax.imshow(measured.cosines, vmin=-1, vmax=1, cmap="RdBu", extent=extent)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=ax)
    return figure


def attribution(measured: PatchAttribution, study: Study) -> Figure:
    given, columns = "image" if study.config.measurements else "input", []
    for k, (saliency, (_, radius)) in enumerate(
        zip(measured.saliency, measured.radii, strict=True)
    ):
        # On a logarithmic scale of three decades: what is far from the patch is weak.
        with np.errstate(over="ignore", invalid="ignore"):  # of derivatives that are not finite
            strength = np.log10(saliency / (saliency.max() or 1) + 1e-3) / 3 + 1
        title = f"|∂ patch of x{k + 1}/∂ {given}|, 95 % in {radius:.0f} px"
        columns.append([(title, colormaps["magma"](strength)[..., :3])])
    signed = 0.5 + measured.integrated / (2 * _loudest(measured.integrated))
    columns.append([("integrated gradients", colormaps["RdBu"](signed)[..., :3])])
    figure, patch = _tiles(columns), measured.patch
    corner = patch.x - 0.5, patch.y - 0.5
    for ax in figure.axes:
        frame = Rectangle(corner, patch.width, patch.height, fill=False, edgecolor="tab:cyan")
        ax.add_patch(frame)
    return figure


def _tiles(columns: Sequence[Sequence[tuple[str, Any]]]) -> Figure:
    """Show images under their titles; cells without an image stay empty."""
    height, width = columns[-1][-1][1].shape[:2]
    shape = len(columns[0]), len(columns)
    size = shape[1] * _TILE, shape[0] * (_TILE * height / width + 0.22)
    figure = Figure(size, layout="constrained")
    for column, cells in zip(figure.subplots(*shape, squeeze=False).T, columns, strict=True):
        for ax, (title, image) in zip(column, cells, strict=True):
            ax.axis("off")
            if image is not None:
                grey = image.shape[2] == 1
                shown = image if image.dtype == np.uint8 else image.clip(0, 1)
                ax.imshow(np.repeat(shown, 3, axis=2) if grey else shown, interpolation="nearest")
                ax.set_title(title, fontsize=7, pad=2)
    return figure


def _draw(*panels: _Panel) -> Figure:
    figure = Figure((_WIDTH * (1 + len(panels)) / 2, _HEIGHT), layout="constrained")
    axes: list[Axes] = [*figure.subplots(1, len(panels), squeeze=False)[0]]
    for ax, panel in zip(axes, panels, strict=True):
        for label, values in panel.curves.items():
            numbers = range(1, np.size(values) + 1)
            ax.plot(numbers, np.asarray(values), "o-", markersize=3, label=label)
        for level, label in panel.levels.items():
            ax.axhline(level, color="gray", linestyle=":", label=label)
        if panel.curves:
            ax.legend(fontsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(xlabel="stage", ylabel=panel.ylabel, yscale=panel.yscale)
        ax.set_title(panel.title, fontsize=9)
    return figure


def _loudest(values: NDArray[Any]) -> float:
    """Return the magnitude that becomes the end of a scale."""
    finite = np.abs(values[np.isfinite(values)])
    return (float(np.percentile(finite, _LOUD)) if finite.size else 0.0) or 1.0


def _decibel(psnr: float) -> str:
    return "" if np.isnan(psnr) else f", {psnr:.2f} dB"
