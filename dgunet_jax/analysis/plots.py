"""The figures of a study."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dgunet_jax.analysis.steps import BOUND
from dgunet_jax.analysis.study import Study
from dgunet_jax.evaluation.figures import LARGEST_ERROR, error_map

_SIZE = (6.4, 3.4)  # inches
_TILE = 1.9  # inches, side of a picture
_LOUD = 99.5  # percentile of |g| that becomes black or white
_FIRST, _SECOND, _THIRD = "tab:blue", "tab:orange", "tab:green"


def figures(study: Study) -> dict[str, Figure]:
    """The figures that a study has, by name, in the order of a report."""
    made: dict[str, Callable[[Study], Figure]] = {
        "stages": _pictures,
        "progress": _progress,
        "moves": _moves,
        "gradient": _gradient,
        "adjointness": _adjointness,
        "steps": _steps,
    }
    if study.explained is not None:
        made["contraction"] = _contraction
    if study.depth is not None:
        made["depth"] = _depth
    if "flow" in study.stages[0]:
        made["flow"] = _flow
    if study.explained is not None:
        made["attribution"] = _attribution
    return {name: draw(study) for name, draw in made.items()}


def _pictures(study: Study) -> Figure:
    """v_k, g_k, x_k and what is wrong with it, or what it changed, stages left to right."""
    loud = float(np.percentile(np.abs(study.g), _LOUD)) or 1.0
    before = [study.inputs, *study.x]
    columns = [_reference(study)]
    for k, (g, v, x, numbers) in enumerate(
        zip(study.g, study.v, study.x, study.stages, strict=True), 1
    ):
        size = np.sqrt(np.mean(np.square(g)))
        last: tuple[str, NDArray[Any]]
        if study.clean is None:
            last = f"|x{k} − x{k - 1}|", error_map(x, before[k - 1])
        else:
            last = f"error of x{k}", error_map(x, study.clean)
        columns.append(
            [
                (f"g{k}, rms {size:.2g}", 0.5 + g / (2 * loud)),
                (f"v{k}{_decibel(numbers['psnr_v'])}", v),
                (f"x{k}{_decibel(numbers['psnr_x'])}", x),
                last,
            ]
        )
    height, width, _ = study.inputs.shape
    figure = Figure(
        figsize=(_TILE * len(columns), 4 * (_TILE * height / width + 0.22)), layout="constrained"
    )
    axes = figure.subplots(4, len(columns), squeeze=False)
    for column, cells in zip(axes.T, columns, strict=True):
        for ax, (title, image) in zip(column, cells, strict=True):
            ax.axis("off")
            if image is not None:
                ax.imshow(_shown(image), interpolation="nearest")
                ax.set_title(title, fontsize=8, pad=2)
    return figure


def _reference(study: Study) -> list[tuple[str, Any]]:
    """The column before the stages: the input and, if it is known, the clean image."""
    decibel = "" if study.input is None else _decibel(study.input["psnr"])
    column: list[tuple[str, Any]] = [("", None), (f"input{decibel}", study.inputs)]
    if study.clean is None or study.inputs is study.clean:
        return [*column, ("", None), ("", None)]
    error = error_map(study.inputs, study.clean)
    return [*column, ("clean", study.clean), (f"error, 0 … {LARGEST_ERROR:g}", error)]


def _progress(study: Study) -> Figure:
    figure, ax = _new(study)
    if study.stages[0]["psnr_x"] is None:
        _line(ax, study, [s["residual"] for s in study.stages], "‖Φ(x) − y‖, rms", _FIRST)
        ax.set_ylim(bottom=0)
    else:
        if study.input is not None:
            ax.axhline(study.input["psnr"], color="gray", linestyle=":", label="input")
        _line(ax, study, [s["psnr_v"] for s in study.stages], "v, after the gradient step", _SECOND)
        _line(ax, study, [s["psnr_x"] for s in study.stages], "x, after the proximal step", _FIRST)
        ax.set_ylabel("PSNR, dB")
        other = ax.twinx()
        _line(other, study, [s["residual"] for s in study.stages], "‖Φ(x) − y‖, right", "lightgray")
        other.set_ylabel("residual, rms")
        other.set_ylim(bottom=0)
        ax.set_zorder(other.get_zorder() + 1)
        ax.patch.set_visible(False)
        lines = [*ax.get_lines(), *other.get_lines()]
        ax.legend(lines, [str(line.get_label()) for line in lines], fontsize=8)
        return figure
    ax.legend(fontsize=8)
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
    figure, ax = _new(study)
    groups = [stage["gradient"] for stage in study.stages]
    _line(ax, study, [g["cosine"] for g in groups], "cosine with the gradient", _FIRST)
    if groups[0].get("towards_clean") is not None:
        values = [g["towards_clean"] for g in groups]
        _line(ax, study, values, "cosine with the way to the clean image", _THIRD)
    _line(ax, study, [g["data_ratio"] for g in groups], "data term after / before", _SECOND)
    ax.axhline(0, color="gray", linewidth=0.8)
    ax.axhline(1, color="gray", linewidth=0.8, linestyle=":")
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
    figure, left, right = _side_by_side()
    numbers = range(1, len(depth["residual"]) + 1)
    left.semilogy(numbers, depth["residual"], color=_FIRST, label="‖Φ(x) − y‖")
    left.semilogy(numbers, depth["change"], color=_SECOND, label="‖x − x before‖")
    left.set_ylabel("root mean square")
    if "psnr" in depth:
        right.plot(numbers, _gaps(depth["psnr_result"]), color=_FIRST, label="result, last stage's")
        right.plot(numbers, _gaps(depth["psnr"]), color=_THIRD, label="estimate")
        right.set_ylabel("PSNR, dB")
    else:
        right.axis("off")
    for ax in (left, right):
        ax.axvline(depth["trained"], color="gray", linestyle=":", label="in training")
        if depth["diverged_at"] is not None:
            ax.axvline(depth["diverged_at"], color="tab:red", linestyle=":", label="diverged")
        ax.set_xlabel("iterations of the shared stage")
    left.legend(fontsize=8)
    if "psnr" in depth:
        right.legend(fontsize=8)
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
    for k, (ax, saliency) in enumerate(zip(axes, maps, strict=False), 1):
        # On a logarithmic scale of three decades: what is far from the patch is weak.
        strength = np.log10(saliency / (saliency.max() or 1) + 1e-3) / 3 + 1
        ax.imshow(strength, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
        radius = study.stages[k - 1]["attribution"]["radius_95"]
        ax.set_title(f"|∂ patch of x{k}/∂y|, 95 % in {radius:.0f} px", fontsize=7)
    found = explained.integrated
    loud = float(np.percentile(np.abs(found), _LOUD)) or 1.0
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


def _gaps(values: list[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _shown(image: NDArray[Any]) -> NDArray[Any]:
    """Clamped, and grey as grey."""
    clamped = image if image.dtype == np.uint8 else image.clip(0, 1)
    if clamped.shape[2] == 1:
        return colormaps["gray"](clamped[..., 0])[..., :3]
    return clamped


def _decibel(psnr: float | None) -> str:
    return "" if psnr is None else f", {psnr:.2f} dB"
