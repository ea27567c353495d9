"""What one visitor of the page has: a picture, and what a network made of it."""

import dataclasses
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from dgunet_jax.demo.networks import Network
from dgunet_jax.images import Encoded, Picture, read, read_header, to_uint8, write
from dgunet_jax.metrics import psnr
from dgunet_jax.options import BESIDE
from dgunet_jax.restoration.pipeline import weakened
from dgunet_jax.restoration.shapes import Size
from dgunet_jax.system.errors import UserError

_LONGEST = 2048  # pixels of the longer side of what is shown; what is written has them all


def read_picture(file: Path, network: Network, size: Size | None = None) -> Picture:
    """Read a picture that was uploaded; messages name it as its owner does.

    Args:
      file: the picture.
      network: what is to restore it.
      size: the height and width it must have; None: any that fits into memory.

    Raises:
      UserError: it cannot be read, is of another size, or does not fit into memory.
    """
    try:
        uploaded = Encoded(file.name, file.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{file.name}: was removed after a day; choose it again") from error
    header = read_header(uploaded)
    found = header.height, header.width
    if size not in (None, found):
        raise UserError(
            f"{file.name}: has {found[1]}×{found[0]} pixels, the picture {size[1]}×{size[0]}; a"
            " clean picture must have as many"
        )
    try:
        network.check(found)
    except UserError as error:
        whose = "; these are options of dgunet restore" if "--" in str(error) else ""
        raise UserError(f"{file.name}: {error}{whose}") from error
    return read(uploaded)


class Restoration:
    """A picture, and the steps of a network from it: input, v_1, x_1, …, v_K, x_K.

    The steps lie in files, which are removed with the object: all visitors together may have more
    of them than the memory holds.

    Args:
      file: the picture.
      clean: the file of a clean picture of the same size to compare with, or None.
      network: what restores it.
      folder: where the files lie.

    Attributes:
      last: the place of x_K among the steps, 2K.

    Raises:
      UserError: as `read_picture` does.
    """

    def __init__(self, file: Path, clean: Path | None, network: Network, folder: Path):
        picture = read_picture(file, network)
        given = picture.colours()
        self._clean = None
        if clean is not None:
            self._clean = read_picture(clean, network, given.shape[:2])
        self._picture = dataclasses.replace(picture, remark=network.remark)
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._name = f"{file.stem}{BESIDE}.png"
        self.last = 2 * network.num_stages
        np.save(self._step(0), given)
        for place, step in enumerate(network.steps(given), 1):
            np.save(self._step(place), step)

    def _step(self, place: int) -> Path:
        return self._folder / f"{place}.npy"

    def step(self, place: int) -> NDArray[np.float32]:
        """Return a step, (H, W, 3), clipped to [0, 1]."""
        return np.load(self._step(place)).clip(0, 1)

    def difference(self, place: int, factor: float) -> NDArray[np.float32]:
        """Return 0.5 + `factor` · (step − input), (H, W, 3)."""
        return 0.5 + np.float32(factor) * (self.step(place) - self.step(0))

    def restored(self, strength: float) -> Picture:
        """Return what `dgunet restore --strength` makes of the picture."""
        colours = weakened(self._picture, np.load(self._step(self.last)), strength)
        return self._picture.with_colours(colours)

    def write(self, restored: Picture) -> Path:
        """Write what was restored as a PNG file of the picture's depth."""
        path = self._folder / self._name
        write(path, restored)
        return path

    def psnr(self, image: NDArray[np.float32]) -> float | None:
        """Return the PSNR in dB of an image (H, W, 3); None if there is no clean picture."""
        return None if self._clean is None else psnr(image, self._clean.colours())


def view(image: NDArray[np.floating]) -> PIL.Image.Image:
    """Return an image (H, W, 3) as a page shows it: in 8 bits, and large ones reduced."""
    shown = PIL.Image.fromarray(to_uint8(image))
    return shown.reduce(-(-max(shown.size) // _LONGEST))
