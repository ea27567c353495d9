"""Small data sets, made of a photograph, and what an evaluation of them wrote."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

PHOTO = data.chelsea()
SIZE = (24, 32)


def clean(index: int) -> np.ndarray:
    """A part of the photograph, uint8 24×32."""
    top, left = 40 + 17 * (index % 12), 60 + 23 * (index % 12)
    return PHOTO[top : top + SIZE[0], left : left + SIZE[1]]


def degraded(index: int, sigma: float = 12) -> np.ndarray:
    """The same part with noise, more of it the larger the index."""
    noise = np.random.default_rng(index).standard_normal((*SIZE, 3))
    return np.rint(clean(index) + sigma * (index + 1) / 2 * noise).clip(0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pairs(folder: Path, count: int, names: tuple[str, str] = ("input", "target")) -> Path:
    """A folder of pairs 0.png, 1.png …"""
    for i in range(count):
        save(folder / names[0] / f"{i}.png", degraded(i))
        save(folder / names[1] / f"{i}.png", clean(i))
    return folder


def results(folder: Path | str = "out") -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error: ")]
