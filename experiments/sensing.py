"""Score compressive sensing after each training step: PSNR, and how visible the blocks are.

Pictures, whose sides are cut to multiples of 32, whole and block by block; beside them
Φᵀ(ΦΦᵀ)⁻¹Φx of the same matrix and of one with random orthonormal rows. Seams: mean gradient across
borders of blocks over that within them.

    python -m experiments.sensing --test Set11 runs/cs1 runs/cs2
"""

import argparse
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import dgunet_jax
from dgunet_jax import DGUNet, Restorer
from dgunet_jax.data.sources import open_source
from dgunet_jax.data.transforms import unit_range
from dgunet_jax.images import luma
from dgunet_jax.metrics import psnr, seams
from dgunet_jax.operators import BlockSampling, SamplingMatrix
from dgunet_jax.operators.library import BLOCK


def pictures(folder: str) -> list[NDArray[np.float32]]:
    """Luma of a folder's pictures, of sides that blocks fill."""
    source, found = open_source(folder, pairs=False), []
    for index in range(len(source)):
        image = unit_range(luma(source.read(index)[0]))
        height, width = (side // BLOCK * BLOCK for side in image.shape[:2])
        found.append(image[:height, :width])
    return found


def line(name: str, images: list[Any], clean: list[NDArray[np.float32]]) -> str:
    clamped = [np.asarray(image).clip(0, 1) for image in images]
    decibel = np.mean([psnr(*pair) for pair in zip(clamped, clean, strict=True)])
    return f"| {name} | {decibel:.2f} | {np.mean([seams(each, BLOCK) for each in clamped]):.3f} |"


def least_norm(matrix: Any, clean: list[NDArray[np.float32]]) -> list[Any]:
    sampling = SamplingMatrix(jnp.asarray(matrix))
    return [sampling.least_norm(sampling.forward(jnp.asarray(image)[None]))[0] for image in clean]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", required=True, help="a folder of pictures")
    parser.add_argument("checkpoints", nargs="+")
    options = parser.parse_args()
    clean = pictures(options.test)
    print("| | PSNR, dB | seams |\n|---|---|---|", flush=True)
    print(line("clean", clean, clean), flush=True)
    ratio = None
    for path in options.checkpoints:
        model, variables = dgunet_jax.load(path)
        matrix = variables["params"]["sampling_matrix"]
        if ratio is None:
            ratio = model.config.measurements / BLOCK**2
            drawn = BlockSampling.draw(ratio, BLOCK, np.random.default_rng(0)).matrix
            print(line("Φᵀ(ΦΦᵀ)⁻¹Φx, random rows", least_norm(drawn, clean), clean), flush=True)
        print(line(f"Φᵀ(ΦΦᵀ)⁻¹Φx, {path}", least_norm(matrix, clean), clean), flush=True)
        for blockwise in (True, False):
            config = dataclasses.replace(model.config, blockwise=blockwise)
            restorer = Restorer(DGUNet(config), variables)
            name = f"{path}, {'block by block' if blockwise else 'whole'}"
            print(line(name, [restorer(image) for image in clean], clean), flush=True)


if __name__ == "__main__":
    main()
