"""The programs of docs/export.md, which run exported networks without this package."""

import pathlib
import re
import subprocess
import sys

import numpy as np
from PIL import Image
from skimage import data

import dgunet_jax
from dgunet_jax.cli import main
from tests.small import network

PAGE = pathlib.Path(__file__).parents[1] / "docs/export.md"
WITHOUT = "import sys; sys.modules['dgunet_jax'] = None\n"


def program(text: str, folder: pathlib.Path) -> None:
    """Run a program that cannot import this package."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + text], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def examples() -> dict[str, str]:
    """The programs of the page, by the ending of the file that they use."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    return {re.findall(r"denoise\.(\w+)", text)[0]: text for text in found}


def photograph(height: int, width: int) -> np.ndarray:
    clean = data.astronaut()[100 : 100 + height, 100 : 100 + width]
    noise = 20 * np.random.default_rng(0).standard_normal(clean.shape)
    return np.rint(clean + noise).clip(0, 255).astype(np.uint8)


def check_example(ending: str, folder: pathlib.Path) -> None:
    """The page's program for a file of some ending does what `dgunet restore` does."""
    model, variables = network(num_stages=2)
    dgunet_jax.save(folder / "net.safetensors", model, variables)
    written = str(folder / f"denoise.{ending}")
    words = ["export", "--checkpoint", str(folder / "net.safetensors"), "--format", ending]
    assert main([*words, "--output", written]) == 0
    pixels = photograph(37, 50)
    Image.fromarray(pixels).save(folder / "photo.png")
    program(examples()[ending] + "np.save('x.npy', x)\n", folder)
    expected = dgunet_jax.Restorer(model, variables)(pixels / np.float32(255))
    np.testing.assert_allclose(np.load(folder / "x.npy"), expected, 0, 1e-5)
    words = ["restore", "--checkpoint", str(folder / "net.safetensors"), str(folder / "photo.png")]
    assert main([*words, "--output", str(folder / "out")]) == 0
    ours, theirs = (
        np.asarray(Image.open(folder / name), np.int32)
        for name in ("out/photo.png", "restored.png")
    )
    assert abs(ours - theirs).max() <= 1  # a value between two levels
