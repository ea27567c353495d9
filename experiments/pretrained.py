"""Make a network of the package out of a trained one: float16, with what it is for and its scores.

    python -m experiments.pretrained denoise --checkpoint runs/denoise --patch 128 --steps 4100 \
        --scores "CBSD68, σ 25=runs/scores/cbsd68_25" --output dgunet_jax/pretrained

Scores are the means of what `dgunet evaluate --output` has written.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

from dgunet_jax import DGUNet, checkpoints
from dgunet_jax.about import About
from dgunet_jax.evaluation.scores import RESULTS
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.terminal import run, show

# What each is for, and what it is not for.
TASKS = {
    "denoise": (
        "colour pictures with Gaussian noise of σ 0 to 55, which is not told",
        "noise that is correlated between pixels, as that of cameras; artefacts of JPEG; blur",
    ),
    "camera": (
        "the noise of cameras and phones, and their JPEG files of quality 85 and more",
        "strong noise of a single kind, strong artefacts of JPEG, blur",
    ),
    "deblock": (
        "JPEG files of quality 10 to 100",
        "noise, blur, files that were scaled after they were compressed",
    ),
    "any_operator": (
        "what a known linear operator measured, with Gaussian noise of σ 0 to 25",
        "a blur or noise that is not known",
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=TASKS)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--scores", metavar="NAME=DIR", action="append", default=[])
    parser.add_argument("--steps", type=int, help="in all, where there was more than one run")
    parser.add_argument("--degradation", help="in words, where that of the run does not tell")
    parser.add_argument("--patch", type=int)
    parser.add_argument("--data")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    return run(lambda: _pack(options))


def _pack(options: argparse.Namespace) -> int:
    read = checkpoints.read(options.checkpoint)
    given = {name: getattr(options, name) for name in ("steps", "degradation", "patch", "data")}
    task, limits = TASKS[options.name]
    about = dataclasses.replace(
        read.about,
        task=task,
        limits=limits,
        scores=dict(map(_score, options.scores)),
        **{name: value for name, value in given.items() if value is not None},
    )
    path = options.output / f"{options.name}.safetensors"
    write(path, read.model, read.variables["params"], about)
    show("\n  ".join([f"{path}: {path.stat().st_size:,} bytes", *about.lines()]))
    return 0


def write(path: Path, model: DGUNet, params: object, about: About) -> None:
    """Write weights as float16, to be computed with in float32."""
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)
    network = DGUNet(dataclasses.replace(model.config, dtype=None))
    checkpoints.save(path, network, {"params": half}, about)


def _score(text: str) -> tuple[str, tuple[float, float]]:
    name, _, folder = text.rpartition("=")
    try:
        mean = json.loads((Path(folder) / RESULTS).read_text())["mean"]
        return name, (round(mean["input"], 2), round(mean["psnr"], 2))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"--scores {text}: {folder} holds no scores of inputs") from error


if __name__ == "__main__":
    sys.exit(main())
