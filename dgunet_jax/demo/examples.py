"""Pictures to begin with: photographs of scikit-image, degraded as training pictures are."""

import dataclasses
from pathlib import Path

import numpy as np
from skimage import data

from dgunet_jax.data.degradations import Degradation
from dgunet_jax.images import Picture, to_uint8, write


@dataclasses.dataclass(frozen=True)
class Example:
    """A degraded photograph.

    Attributes:
      label: what was done to it, in two words.
      model: the installed network that restores it.
      picture, clean: its files.
    """

    label: str
    model: str
    picture: Path
    clean: Path


def write_examples(folder: Path) -> list[Example]:
    """Write the pictures into a folder, and the clean ones beside them."""
    photographs = [  # NASA, public domain; Rachel Michetti, CC0; Stefan van der Walt, CC0
        ("astronaut", data.astronaut(), "Gaussian noise", "denoise", "gaussian(25) | round"),
        ("coffee", data.coffee(), "camera noise", "camera", "snapshot(0.008, 0.3) | jpeg(90)"),
        ("cat", data.chelsea(), "JPEG", "deblock", "jpeg(15)"),
    ]
    found = []
    for name, clean, label, model, degradation in photographs:
        image = clean / np.float32(255)
        degraded = Degradation.parse(degradation).apply(image, np.random.default_rng(0))
        example = Example(label, model, folder / f"{name}.png", folder / f"{name}_clean.png")
        write(example.picture, Picture(to_uint8(degraded)))
        write(example.clean, Picture(clean))
        found.append(example)
    return found
