"""Figures of an analysis."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dgunet_jax.analysis.operators import BOUND
from dgunet_jax.analysis.study import Study
from dgunet_jax.evaluation.report import LARGEST_ERROR, error_map

_SIZE = (6.4, 3.4)  # inches
_TILE = 1.9  # inches, side of a picture
_LOUD = 99.5  # percentile of |g| that becomes black or white
_ERRORS = f"0 … {LARGEST_ERROR:g}"
_RESIDUAL = "‖Φₖ(xₖ₋₁) − y‖"
_FIRST, _SECOND, _THIRD = "tab:blue", "tab:orange", "tab:green"


def figures(study: Study) -> dict[str, Figure]:
    """The figures that a study has, by name, in the order of a report."""
    draw: dict[str, Callable[[Study], Figure]] = {
        "stages": _pictures,
        "progress": _progress,
        "moves": _moves,
        "gradient": _gradient,
        "adjointness": _adjointness,
        "steps": _steps,
        "contraction": _contraction,
        "depth": _depth,
        "flow": _flow,
        "attribution": _attribution,
    }
    return {name: draw[name](study) for name in ("stages", *study.subjects)}


def _pictures(study: Study) -> Figure:
    """g_k, v_k, x_k and what is wrong with it, or what it changed, stages left to right."""
    loud = _loudest(np.stack(study.g))
    before = [study.start, *study.x]
    columns = [_reference(study)]
    for k, (g, v, x, numbers) in enumerate(
        zip(study.g, study.v, study.x, study.stages, strict=True), 1
    ):
        size = np.sqrt(np.mean(np.square(g, dtype=np.float64)))
        cells: list[tuple[str, Any]] = [
            (f"g{k}, rms {size:.2g}", 0.5 + g / (2 * loud)),
            (f"v{k}{_decibel(numbers['psnr_v'])}", v),
            (f"x{k}{_decibel(numbers['psnr_x'])}", x),
        ]
        if study.clean is None:
            changed = error_map(x, before[k - 1].clip(0, 1))
            cells.append((f"|x{k} − x{k - 1}|, {_ERRORS}", changed))
        else:
            cells.append((f"error of x{k}, {_ERRORS}", error_map(x, study.clean)))
        columns.append(cells)
    if study.config.degradation == "none":
        columns = [cells[1:] for cells in columns]
    rows, (height, width, _) = len(columns[0]), study.inputs.shape
    figure = Figure(
        figsize=(_TILE * len(columns), rows * (_TILE * height / width + 0.22)),
        layout="constrained",
    )
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for column, cells in zip(axes.T, columns, strict=True):
        for ax, (title, image) in zip(column, cells, strict=True):
            ax.axis("off")
            if image is not None:
                ax.imshow(_shown(image), interpolation="nearest")
                ax.set_title(title, fontsize=8, pad=2)
    return figure


def _reference(study: Study) -> list[tuple[str, Any]]:
    """The column before the stages: the input, if it is a picture, and what is known of it."""
    none = ("", None)
    if study.config.measurements:
        return [none, none, ("clean, which is sampled", study.inputs), none]
    decibel = "" if study.input is None else _decibel(study.input["psnr"])
    column: list[tuple[str, Any]] = [none, (f"input{decibel}", study.inputs)]
    if study.clean is None:
        return [*column, none, none]
    error = (f"error, {_ERRORS}", error_map(study.inputs, study.clean))
    return [*column, ("clean", study.clean), error]


def _progress(study: Study) -> Figure:
    figure, ax = _new(study)
    residuals = [s["residual"] for s in study.stages]
    if study.stages[0]["psnr_x"] is None:
        _line(ax, study, residuals, _RESIDUAL, _FIRST)
        ax.set_ylabel("root mean square")
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=8)
        return figure
    if study.input is not None and np.isfinite(study.input["psnr"]):
        ax.axhline(study.input["psnr"], color="gray", linestyle=":", label="input")
    steps = study.config.degradation != "none"
    if steps:
        _line(ax, study, [s["psnr_v"] for s in study.stages], "v, after the gradient step", _SECOND)
    _line(ax, study, [s["psnr_x"] for s in study.stages], "x, after the proximal step", _FIRST)
    ax.set_ylabel("PSNR, dB")
    lines = [*ax.get_lines()]
    if steps:
        other = ax.twinx()
        _line(other, study, residuals, f"{_RESIDUAL}, right", "lightgray")
        other.set_ylabel("residual, rms")
        other.set_ylim(bottom=0)
        ax.set_zorder(other.get_zorder() + 1)
        ax.patch.set_visible(False)
        lines += other.get_lines()
    ax.legend(lines, [str(line.get_label()) for line in lines], fontsize=8)
    return figure


def _moves(study: Study) -> Figure:
    figure, ax = _new(study)
    _line(
        ax, study, [s["gradient_move"] for s in study.stages], "‖v − x before‖, gradient", _SECOND
    )
    _line(ax, study, [s["proximal_move"] for s in study.stages], "‖x − v‖, proximal", _FIRST)
    _line(ax, study, [s["change"] for s in study.stages], "‖x − x before‖, both", _THIRD)
    ax.set_ylabel("root mean square")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=8)
    return figure


def _gradient(study: Study) -> Figure:
    figure, left, right = _side_by_side()
    groups = [stage["gradient"] for stage in study.stages]
    _line(left, study, [g["cosine"] for g in groups], "cosine with the gradient", _FIRST)
    towards = [g["towards_clean"] for g in groups]
    if any(value is not None for value in towards):
        label = "cosine of the step with the way to the clean image"
        _line(left, study, towards, label, _THIRD)
    left.axhline(0, color="gray", linewidth=0.8)
    left.set_ylim(-1.05, 1.05)
    ratios = [g["data_ratio"] for g in groups]
    _line(right, study, ratios, "data term after / before", _SECOND)
    right.axhline(1, color="gray", linewidth=0.8, linestyle=":")
    right.set_yscale("log")
    for ax in (left, right):
        _count(ax, study)
        ax.legend(fontsize=8)
    return figure


def _adjointness(study: Study) -> Figure:
    figure, ax = _new(study)
    groups = [stage["adjointness"] for stage in study.stages]
    _line(ax, study, [g["random"] for g in groups], "random directions", _FIRST)
    _line(ax, study, [g["in_use"] for g in groups], "residuals met in use", _SECOND)
    ax.set_ylabel("adjointness gap")
    ax.set_ylim(0, 1.02)
    ax.legend(fontsize=8)
    return figure


def _steps(study: Study) -> Figure:
    figure, ax = _new(study)
    groups = [stage["step"] for stage in study.stages]
    _line(ax, study, [g["product"] for g in groups], "ρL", _FIRST)
    _line(ax, study, [g["step_size"] for g in groups], "ρ", _SECOND)
    _line(ax, study, [g["curvature"] for g in groups], "L", _THIRD)
    ax.axhline(BOUND, color="gray", linestyle=":", label="bound of ρL")
    ax.axhline(0, color="gray", linewidth=0.8)
    ax.legend(fontsize=8)
    return figure


def _contraction(study: Study) -> Figure:
    figure, left, right = _side_by_side()
    groups = [stage["contraction"] for stage in study.stages]
    _line(left, study, [g["image"] for g in groups], "image, memory held", _FIRST)
    _line(left, study, [g["state"] for g in groups], "image and memory", _SECOND)
    left.axhline(1, color="gray", linestyle=":")
    left.set_yscale("log")
    left.set_ylabel("largest singular value")
    _line(right, study, [g["symmetry_gap"] for g in groups], "symmetry gap", _FIRST)
    _line(right, study, [g["lowest_quotient"] for g in groups], "lowest ⟨u, Ju⟩ met", _SECOND)
    right.axhline(0, color="gray", linewidth=0.8)
    right.set_title("Jacobian of the proximal map", fontsize=9)
    for ax in (left, right):
        _count(ax, study)
        ax.legend(fontsize=8)
    return figure


def _depth(study: Study) -> Figure:
    depth: dict[str, Any] = study.depth or {}
    if "psnr" in depth:
        figure, left, right = _side_by_side()
        right.plot(*_counted(depth["psnr_result"]), color=_FIRST, label="result, last stage's")
        right.plot(*_counted(depth["psnr"]), color=_THIRD, label="estimate")
        right.set_ylabel("PSNR, dB")
        axes = left, right
    else:
        figure = Figure(figsize=_SIZE, layout="constrained")
        left = figure.subplots()
        axes = (left,)
    if depth["residual"] is not None:
        left.plot(*_counted(depth["residual"]), color=_FIRST, label="‖Φ(xₙ₋₁) − y‖")
    left.plot(*_counted(depth["change"]), color=_SECOND, label="‖xₙ − xₙ₋₁‖")
    left.set_yscale("log")
    left.set_ylabel("root mean square")
    for ax in axes:
        ax.axvline(depth["trained"], color="gray", linestyle=":", label="in training")
        if depth["diverged_at"] is not None:
            ax.axvline(depth["diverged_at"], color="tab:red", linestyle=":", label="diverged")
        ax.set_xlabel("n, iterations of the shared stage")
        ax.legend(fontsize=8)
    return figure


def _flow(study: Study) -> Figure:
    figure, left, right = _side_by_side()
    groups = [stage["flow"] for stage in study.stages]
    _line(left, study, [g["estimate"] for g in groups], "‖∂L/∂x‖", _FIRST)
    _line(left, study, [g["weights"] for g in groups], "‖∂L/∂θ‖", _SECOND)
    left.set_yscale("log")
    left.legend(fontsize=8)
    _count(left, study)
    cosines = study.flow_cosines
    if cosines is None:
        right.axis("off")
        return figure
    image = right.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu")
    uses = range(2, 2 + len(cosines))
    right.set_xticks(range(len(cosines)), [str(k) for k in uses])
    right.set_yticks(range(len(cosines)), [str(k) for k in uses])
    right.set_title("cosines of the gradients of the shared weights' uses", fontsize=9)
    right.set_xlabel("stage")
    figure.colorbar(image, ax=right)
    return figure


def _attribution(study: Study) -> Figure:
    explained = study.explained
    assert explained is not None
    maps = [*explained.saliency]
    figure = Figure(figsize=(_TILE * (len(maps) + 1), _TILE + 0.5), layout="constrained")
    axes = figure.subplots(1, len(maps) + 1)
    given = "picture" if study.config.measurements else "input"
    for k, (ax, saliency) in enumerate(zip(axes, maps, strict=False), 1):
        # On a logarithmic scale of three decades: what is far from the patch is weak.
        with np.errstate(over="ignore", invalid="ignore"):  # of derivatives that are not finite
            strength = np.log10(saliency / (saliency.max() or 1) + 1e-3) / 3 + 1
        ax.imshow(strength, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
        radius = study.stages[k - 1]["attribution"]["radius_95"]
        within = "" if radius is None else f", 95 % in {radius:.0f} px"
        ax.set_title(f"|∂ patch of x{k}/∂ {given}|{within}", fontsize=7)
    found = explained.integrated
    loud = _loudest(found)
    axes[-1].imshow(found, cmap="RdBu", vmin=-loud, vmax=loud, interpolation="nearest")
    axes[-1].set_title("integrated gradients", fontsize=7)
    patch = explained.patch
    columns = patch.x - 0.5 + patch.width * np.array([0, 1, 1, 0, 0])
    rows = patch.y - 0.5 + patch.height * np.array([0, 0, 1, 1, 0])
    for ax in axes:
        ax.plot(columns, rows, color="tab:cyan", linewidth=0.8)
        ax.axis("off")
    return figure


def _new(study: Study) -> tuple[Figure, Any]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    ax = figure.subplots()
    _count(ax, study)
    return figure, ax


def _side_by_side() -> tuple[Figure, Any, Any]:
    figure = Figure(figsize=(1.5 * _SIZE[0], _SIZE[1]), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, left, right


def _count(ax: Any, study: Study) -> None:
    ax.set_xticks(range(1, len(study.stages) + 1))
    ax.set_xlabel("stage")


def _line(ax: Any, study: Study, values: list[float | None], label: str, color: str) -> None:
    ax.plot(range(1, len(study.stages) + 1), _gaps(values), "o-", color=color, label=label)


def _counted(values: list[float | None]) -> tuple[range, list[float]]:
    return range(1, len(values) + 1), _gaps(values)


def _gaps(values: list[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _loudest(values: NDArray[Any]) -> float:
    """The magnitude that becomes the end of a scale."""
    finite = np.abs(values[np.isfinite(values)])
    return (float(np.percentile(finite, _LOUD)) if finite.size else 0.0) or 1.0


def _shown(image: NDArray[Any]) -> NDArray[Any]:
    """Clamped, and grey as grey."""
    clamped = image if image.dtype == np.uint8 else image.clip(0, 1)
    if clamped.shape[2] == 1:
        return colormaps["gray"](clamped[..., 0])[..., :3]
    return clamped


def _decibel(psnr: float | None) -> str:
    return "" if psnr is None else f", {psnr:.2f} dB"
