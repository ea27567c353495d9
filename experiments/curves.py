"""Draws the training curves of runs: loss, PSNR of the batches and of the held-out pictures.

python -m experiments.curves runs/denoise runs/deblur --output curves.png
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.options import Parser, path
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError, one_line, reason
from dgunet_jax.system.files import read_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Lines = list[dict[str, Any]]
Curve = tuple[NDArray[Any], NDArray[Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, and return the exit status: 0, or 2 after a user's mistake, told in one line."""
    parser = Parser(prog="python -m experiments.curves", description=__doc__)
    parser.add_argument("runs", nargs="+", type=path, help="working directories")
    parser.add_argument("--output", type=path, required=True)

    def command() -> int:
        options = parser.parse_args(arguments)
        _save(draw(options.runs), options.output)
        return 0

    return terminal.run(command)


def draw(runs: Sequence[Path]) -> "Figure":
    """A column for each run: its loss above, the gains of PSNR below.

    Raises:
      UserError: a run's metrics cannot be read, or have no loss or PSNR.
    """
    from matplotlib.figure import Figure

    logged = [(run, read(run / "metrics.jsonl")) for run in runs]
    figure = Figure(figsize=(4.2 * len(runs), 5), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False)
    for (above, below), (run, lines) in zip(axes.T, logged, strict=True):
        above.set_title(run.name)
        above.plot(*column(lines, "loss"), color="tab:gray", linewidth=0.8)
        above.set_ylabel("loss")
        below.plot(*gain(lines, "psnr"), color="tab:gray", linewidth=0.8, label="batches")
        held_out = stages(lines, "held_out")
        for stage in held_out:
            shade = str(0.75 * (1 - stage / held_out[-1]))
            curve = gain(lines, "held_out", stage)
            below.plot(*curve, ".-", color=shade, label=f"held out, x{stage}")
        below.set_ylabel("PSNR gain, dB")
        below.set_xlabel("step")
        below.set_ylim(bottom=max(-3, below.get_ylim()[0]))
        below.legend(fontsize=7)
    return figure


def read(path: Path) -> Lines:
    """The lines of a run's metrics.

    Raises:
      UserError: they cannot be read, or say nothing of loss and PSNR.
    """
    lines = [_scalars(path, *each) for each in enumerate(read_bytes(path).splitlines(), 1)]
    if not column(lines, "loss")[0].size:
        raise UserError(f"{path}: no line has a loss")
    held_out = ["held_out"] if stages(lines, "held_out") else []
    for group in ("psnr", *held_out):
        if not stages(lines, group) or not gain(lines, group)[0].size:
            raise UserError(f"{path}: no line has {group}/input and the last {group}/stage_N")
    return lines


def _scalars(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        scalars = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}: line {number} is no JSON: {one_line(error)}") from error
    if not isinstance(scalars, dict) or "step" not in scalars:
        raise UserError(f"{path}: line {number} does not tell a step")
    return scalars


def stages(lines: Lines, group: str) -> list[int]:
    """The stages that a group of scalars is about, in order."""
    names = {name for line in lines for name in line}
    found = (re.fullmatch(rf"{group}/stage_(\d+)", name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def column(lines: Lines, name: str) -> Curve:
    """Steps and values of a scalar, where it is a number."""
    found = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    return np.array([step for step, _ in found]), np.array([value for _, value in found])


def gain(lines: Lines, group: str, stage: int | None = None) -> Curve:
    """Steps, and by how much a stage's estimate, or the last one's, is better than the input."""
    stage = stages(lines, group)[-1] if stage is None else stage
    names = f"{group}/stage_{stage}", f"{group}/input"
    both = [line for line in lines if all(line.get(name) is not None for name in names)]
    (steps, psnr), (_, before) = (column(both, name) for name in names)
    return steps, psnr - before


def _save(figure: "Figure", path: Path) -> None:
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:  # a ValueError: of an ending that names no format
        raise UserError(f"--output {path}: cannot be written: {reason(error)}") from error


if __name__ == "__main__":
    sys.exit(main())
