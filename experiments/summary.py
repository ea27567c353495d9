"""The table and the figure of an experiment."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.factor import Result


@dataclasses.dataclass(frozen=True)
class Row:
    """A variant.

    Attributes:
      parameters: of its network.
      gflop: of a step.
      results: of its runs, by seed from 0 on.
    """

    variant: str
    parameters: int
    gflop: float
    results: Sequence[Result]

    @property
    def gains(self) -> np.ndarray:
        """dB over the inputs, one for each seed."""
        return np.array([result.gain for result in self.results])


def table(rows: Sequence[Row], base: str) -> str:
    """A Markdown table: gains in dB, and how they differ from the base's with the same seed."""
    reference = _row(rows, base).gains
    lines = [
        "| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"{row.variant} (base)" if row.variant == base else row.variant
        cells = [name, f"{row.parameters:,}", f"{row.gflop:,.1f}", *_cells(row.gains, "")]
        difference = row.gains - reference
        cells += ["", ""] if row.variant == base else _cells(difference, "+")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def numbers(rows: Sequence[Row], base: str) -> list[dict[str, Any]]:
    """The same for JSON, with the PSNR of every stage."""
    reference = _row(rows, base).gains
    return [
        {
            "variant": row.variant,
            "parameters": row.parameters,
            "gflop": row.gflop,
            "gain_mean": row.gains.mean(),
            "gain_deviation": _deviation(row.gains),
            "gains": row.gains.tolist(),
            "minus_base": (row.gains - reference).tolist(),
            "runs": [dataclasses.asdict(result) for result in row.results],
        }
        for row in rows
    ]


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draws the gain of every seed as a dot, their mean as a bar; seeds are joined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 + 1.1 * len(rows), 3.2), layout="constrained")
    axes = figure.subplots()
    gains = np.array([row.gains for row in rows])
    places = np.arange(len(rows))
    axes.plot(places, gains, "o-", color="tab:gray", linewidth=0.6, markersize=4)
    axes.hlines(gains.mean(axis=1), places - 0.2, places + 0.2, color="tab:red")
    axes.set_xticks(places, [row.variant for row in rows])
    axes.set_ylabel("held-out PSNR gain, dB")
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=100)


def _row(rows: Sequence[Row], variant: str) -> Row:
    (row,) = (row for row in rows if row.variant == variant)
    return row


def _deviation(values: np.ndarray) -> float | None:
    """Standard deviation of the population the seeds were drawn from; None of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _cells(values: np.ndarray, sign: str) -> list[str]:
    deviation = _deviation(values)
    spread = "" if deviation is None else f" ± {deviation:.2f}"
    return [f"{values.mean():{sign}z.2f}{spread}", ", ".join(f"{v:{sign}z.2f}" for v in values)]
