"""Draws the training curves of runs: loss, PSNR of the batches and of the held-out pictures.

python -m experiments.curves runs/denoise runs/deblur --output curves.png
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="working directories")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    figure = Figure(figsize=(4.2 * len(options.runs), 5), layout="constrained")
    axes = figure.subplots(2, len(options.runs), squeeze=False)
    for (above, below), run in zip(axes.T, options.runs, strict=True):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        above.set_title(run.name)
        above.plot(*column(lines, "loss"), color="tab:gray", linewidth=0.8)
        above.set_ylabel("loss")
        below.plot(*gain(lines), color="tab:gray", linewidth=0.8, label="batches")
        stages = sum(name.startswith("held_out/stage_") for name in lines[0])
        for stage in range(1, stages + 1):
            steps, psnr = column(lines, f"held_out/stage_{stage}")
            _, noisy = column(lines, "held_out/input")
            shade = str(0.75 * (1 - stage / stages))
            below.plot(steps, psnr - noisy, ".-", color=shade, label=f"held out, x{stage}")
        below.set_ylabel("PSNR gain, dB")
        below.set_xlabel("step")
        below.set_ylim(bottom=max(-3, below.get_ylim()[0]))
        below.legend(fontsize=7)
    figure.savefig(options.output, dpi=100)


def column(lines: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a scalar."""
    found = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    steps, values = np.array(found).T
    return steps, values


def gain(lines: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and by how much the last estimate of a batch is better than its input."""
    last = max(name for line in lines for name in line if name.startswith("psnr/stage_"))
    steps, psnr = column(lines, last)
    return steps, psnr - column(lines, "psnr/input")[1]


if __name__ == "__main__":
    main()
