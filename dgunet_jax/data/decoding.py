"""Decoding the pictures of a training set, again and again."""

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.data.png_rows import upper_rows
from dgunet_jax.images.reading import read_rgb
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.memory import total_memory


class Decoder:
    """Decodes pictures, and keeps the first ones in memory as long as there is room.

    None is ever thrown out: an epoch asks for each picture once, and in such an order keeping those
    that were used last finds fewer of them again than keeping any. Of a picture that is not kept,
    only the rows that are needed are decoded, where its format allows that (PNG).

    Args:
      room: bytes of decoded pictures that are kept.
    """

    def __init__(self, room: int):
        self._room = room
        self._chosen: set[Path] = set()  # kept, or being decoded for it
        self._kept: dict[Path, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def read(self, path: Path, size: tuple[int, int], rows: int) -> NDArray[np.uint8]:
        """The first rows of a picture; may be called from several threads at once.

        Args:
          path: the picture.
          size: the height and width that it is known to have.
          rows: 1 to the height.

        Returns:
          Read-only uint8 RGB (rows, width, 3).

        Raises:
          UserError: as `images.reading.read_rgb` does, or the picture has another size.
        """
        image = self._kept.get(path)
        if image is None:
            chosen = self._choose(path, size)
            image = None if chosen else _upper_rows(path, size, rows)
            if image is None:
                image = _whole(path, size)
            image.flags.writeable = False
            if chosen:
                self._kept[path] = image
        return image[:rows]

    def _choose(self, path: Path, size: tuple[int, int]) -> bool:
        """Whether a picture is to be kept that is about to be decoded."""
        needed = 3 * size[0] * size[1]
        with self._lock:
            if path in self._chosen or needed > self._room:
                return False
            self._room -= needed
            self._chosen.add(path)
        return True


def quarter_of_memory() -> int:
    """A quarter of the memory of this machine or, if it has less, of this container; in bytes.

    1 GiB where nobody tells how much there is.
    """
    total = total_memory()
    return 1 << 30 if total is None else total // 4


def _upper_rows(path: Path, size: tuple[int, int], rows: int) -> NDArray[np.uint8] | None:
    if path.suffix.lower() != ".png":
        return None
    image = upper_rows(path, size, rows)
    if image is not None and image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return image


def _whole(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    image = read_rgb(path)
    if image.shape[:2] != size:
        raise UserError(f"{path}: has changed its size since the training pictures were looked at")
    return image
