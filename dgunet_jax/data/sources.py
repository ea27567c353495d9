"""Where clean pictures come from: small random-access objects that decode by index."""

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.errors import UserError
from dgunet_jax.images.reading import read_rgb

# What scikit-image states of each one's rights, in the docstrings of `skimage.data`. Its
# stereo pair (motorcycle) comes without such a statement and is therefore not here.
PHOTOGRAPHS = {
    "astronaut": "astronaut.png",  # NASA, public domain
    "chelsea": "chelsea.png",  # Stefan van der Walt, CC0
    "coffee": "coffee.png",  # Rachel Michetti, CC0
    "hubble_deep_field": "hubble_deep_field.jpg",  # NASA, public domain
    "ihc": "ihc.png",  # Center for Microscopy and Molecular Imaging, no known restrictions
    "retina": "retina.jpg",  # Mikael Häggström, CC0
    "rocket": "rocket.jpg",  # SpaceX, public domain
}


class Picture(TypedDict):
    """A clean picture: `image` uint8 (H, W, 3), read-only, and the `name` it is reported under."""

    image: NDArray[np.uint8]
    name: str


class Source(Protocol):
    """Pictures by index, 0 ≤ index < len(source).

    `__getitem__` is called from several threads at once and must return the same picture every
    time. A picture that cannot be decoded raises a `UserError` naming its file.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Picture: ...


class PictureFiles:
    """A `Source` of picture files, each decoded once and then kept in memory.

    Args:
      paths: the files, in the order of their indices.
    """

    def __init__(self, paths: Iterable[Path]):
        self._paths = tuple(paths)
        self._decoded: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Picture:
        path = self._paths[index]
        image = self._decoded.get(index)
        if image is None:
            # Two threads may decode the same file at the same time; they get the same pixels.
            image = read_rgb(path)
            image.flags.writeable = False
            self._decoded[index] = image
        return {"image": image, "name": path.stem}


def photographs(names: Sequence[str] = tuple(PHOTOGRAPHS)) -> Source:
    """Freely licensed colour photographs that every installation of scikit-image holds.

    They are read from its folder: scikit-image is not imported and nothing is downloaded.

    Args:
      names: keys of `PHOTOGRAPHS`.

    Returns:
      A source of these pictures in this order.

    Raises:
      UserError: an unknown name, or scikit-image is not installed.
    """
    for name in names:
        if name not in PHOTOGRAPHS:
            raise UserError(f"unknown photograph {name!r}; known are {', '.join(PHOTOGRAPHS)}")
    # importlib.resources.files would import the package.
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise UserError("the photographs are scikit-image's: install it (pip install scikit-image)")
    folder = Path(package.submodule_search_locations[0], "data")
    return PictureFiles(folder / PHOTOGRAPHS[name] for name in names)
