"""Small data sets that lie as the published ones do, for the recipes in `configs/`."""

from pathlib import Path

import numpy as np
from skimage import data

from dgunet_jax.images import Picture, write

SIDE = 136  # a little more than the patches


def picture(path: Path, seed: int, noisy: bool = False) -> None:
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, 100, 2)
    pixels = data.astronaut()[top : top + SIDE, left : left + SIDE]
    if noisy:
        pixels = (pixels + rng.normal(0, 9, pixels.shape)).clip(0, 255).astype(np.uint8)
    write(path, Picture(pixels))


def pair(folder: Path, names: tuple[str, str], seed: int) -> None:
    picture(folder / names[0], seed, noisy=True)
    picture(folder / names[1], seed)


def make(root: Path) -> None:
    """Write what the recipes name, below a folder."""
    for part, sequence in (("train", "GOPR0372_07_00"), ("test", "GOPR0384_11_00")):
        for i in range(2):
            frame = f"{i:06d}.png"
            pair(root / "GoPro" / part / sequence, (f"blur/{frame}", f"sharp/{frame}"), i)
            picture(root / "GoPro" / part / sequence / "blur_gamma" / frame, i)
    for folder in (
        *("Rain13K/train", "Rain13K/test/Rain100L", "Rain100L/test"),
        *("SIDD_crops/train", "SIDD_crops/validation", "REDS_small/train", "REDS_small/test"),
    ):
        for i in range(2):
            pair(root / folder, (f"input/{i + 1}.png", f"target/{i + 1}.png"), i)
    pair(root / "Rain100L/train", ("input/rain-001.png", "target/norain-001.png"), 0)
    for part in ("our485", "eval15"):
        pair(root / "LOL" / part, ("low/1.png", "high/1.png"), 1)
    for folder in ("RESIDE-OTS", "SOTS/outdoor"):
        for level in ("0.8_0.2", "1_0.16"):
            pair(root / folder, (f"hazy/0001_{level}.jpg", "gt/0001.png"), 2)
    for folder in (
        *("BSDS500/train", "BSDS500/test", "BSD400+WED/BSD400", "BSD400+WED/WED"),
        *("CBSD68/original_png", "DIV2K+BSD400", "Train400_gray", "Set11"),
    ):
        for i in range(2):
            picture(root / folder / f"{i}.png", i)
