"""What restoring files costs on top of the network: a hundred pictures of forty sizes, and a start.

python -m benchmarks.restoring
"""

import argparse
import contextlib
import functools
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image
from skimage import data

from benchmarks.timing import clock
from benchmarks.weights import random_params
from dgunet_jax.checkpoints import save
from dgunet_jax.models.config import VARIANTS, DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.restoration.inputs import find, place
from dgunet_jax.restoration.pipeline import restore_files, sort_out
from dgunet_jax.restoration.restorer import Restorer
from dgunet_jax.restoration.running import apply
from dgunet_jax.restoration.shapes import pad_to_multiple

SMALL = DGUNetConfig(width=16, growth=8, last_growth=8, num_stages=5)
SIDES = (100, 300)  # pixels, of the pictures
PICTURES, SIZES = 100, 40


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variant, config in (("small", SMALL), ("derain", VARIANTS["derain"])):
            save(folder / f"{variant}.safetensors", DGUNet(config), _variables(config))
        write_pictures(folder / "in")
        Image.fromarray(data.astronaut()[:256, :256]).save(folder / "one.png")
        _starts(folder)
        _sizes(rounds)
        _hundred(folder, rounds)
    return 0


def write_pictures(folder: Path) -> None:
    """Crops of photographs: forty sizes first, then sixty of them again."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    sizes = rng.integers(*SIDES, (SIZES, 2), endpoint=True)
    sizes = np.concatenate([sizes, sizes[rng.integers(0, SIZES, PICTURES - SIZES)]])
    for i, (height, width) in enumerate(sizes):
        crop = photographs[i % 4][:height, :width]
        Image.fromarray(crop).save(folder / f"{i:03}.png")


def _variables(config: DGUNetConfig) -> dict[str, Any]:
    return {"params": random_params(config)}


def _estimate(config: DGUNetConfig, weights: Any, images: Any) -> jax.Array:
    restored: Any = DGUNet(config).apply(weights, images)
    return restored.image


def _starts(folder: Path) -> None:
    """From the start of the process to the first written picture, and to its end."""
    print("\ndgunet restore, seconds to the first picture / to the end of the process")
    for label, checkpoint, pictures in (
        ("one 256×256 picture, derain", "derain", "one.png"),
        ("a hundred pictures, small model", "small", "in"),
    ):
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(folder / f"cache-{checkpoint}")
        }
        words = [sys.executable, "-m", "dgunet_jax.cli", "restore", pictures, "--output", "out"]
        words += ["--checkpoint", f"{checkpoint}.safetensors"]
        for state in ("empty cache", "warm cache"):
            begin = time.perf_counter()
            with subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process:
                assert process.stdout is not None
                process.stdout.readline()
                first = time.perf_counter() - begin
                process.stdout.read()
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(f"error: dgunet restore ended with status {process.returncode}")
            end = time.perf_counter() - begin
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
            print(f"  {label}, {state}: {first:.1f} / {end:.1f} s, at most {peak:.0f} MB")


def _sizes(rounds: int) -> None:
    """What it costs that pictures may be smaller than their array."""
    config = VARIANTS["derain"]
    images = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
    weights = jax.device_put(_variables(config))
    plain = jax.jit(functools.partial(_estimate, config))
    sizes = np.array([[248, 240]], np.int32)

    def without() -> None:
        jax.block_until_ready(plain(weights, images))

    def masked() -> None:
        jax.block_until_ready(apply(config, None, False, None, weights, images, sizes))

    with jax.default_matmul_precision("highest"):
        ratios = _in_turns(masked, without, 2 * rounds)
    print(f"\nforward pass with sizes over without, derain 256×256: {ratios:.3f}")


def _hundred(folder: Path, rounds: int) -> None:
    """All of restoring a folder against the forward passes alone."""
    weights = _variables(SMALL)
    placed = jax.device_put(weights)
    plain = jax.jit(functools.partial(_estimate, SMALL))
    paths = sorted((folder / "in").iterdir())
    inputs = [
        pad_to_multiple(np.asarray(Image.open(path), np.float32) / 255, 8)[None] for path in paths
    ]
    restorer = Restorer(DGUNet(SMALL), weights)
    found, _ = find([folder / "in"], None)

    def forward() -> None:
        with jax.default_matmul_precision("highest"):
            for image in inputs:
                jax.block_until_ready(plain(placed, image))

    outcomes = []

    def whole() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            pictures, _, _ = sort_out(found)
            outcomes.append(restore_files(restorer, place(pictures, folder / "restored")))

    first = clock(whole)
    ratio = _in_turns(whole, forward, rounds)
    print(f"\n{PICTURES} pictures of {SIZES} sizes, {SIDES[0]} to {SIDES[1]} pixels, small model")
    print(f"  {outcomes[-1].summary()}")
    print(f"  the first time: {first:.1f} s; later {outcomes[-1].seconds:.1f} s")
    print(f"  reading, restoring and writing over the forward passes alone: {ratio:.2f}")


def _in_turns(ours: Any, other: Any, rounds: int) -> float:
    """Median over rounds (A B B A) of the ratio of their times."""
    ours()
    other()
    ratios = []
    for _ in range(rounds):
        times = {ours: 0.0, other: 0.0}
        for run in (ours, other, other, ours):
            times[run] += clock(run)
        ratios.append(times[ours] / times[other])
    return statistics.median(ratios)


if __name__ == "__main__":
    sys.exit(main())
