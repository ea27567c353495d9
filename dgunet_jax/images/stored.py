"""What the reader of a format finds out about a file before it decodes the pixels."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.system.errors import UserError


class NotAPicture(UserError):
    """A file that nothing in it says to be a picture."""


class DamagedFile(UserError):
    """A file that contradicts its own format; the message says where."""

    def __init__(self, what: str):
        super().__init__(f"is damaged: {what}")


@dataclasses.dataclass(frozen=True)
class Header:
    """What a picture will be when it is read.

    Attributes:
      format: the name of the file's format, such as PNG.
      height, width: in pixels.
      channels: 1 for grey, 3 for colours; alpha does not count.
      bits: per channel, 8 or 16.
      has_alpha: whether there is an alpha channel.
    """

    format: str
    height: int
    width: int
    channels: int
    bits: int
    has_alpha: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Stored(Header):
    """One picture in a file, not turned upright yet.

    Attributes:
      decode: returns uint8 or uint16 (height, width, channels + has_alpha), alpha last. To be
        called while the file is open; raises anything on a damaged file.
      icc_profile, exif, xmp: as they are in the file, unchecked.
      colour_chunks: see `picture.Picture`.

    Raises:
      UserError: there are no pixels, or more than twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """

    decode: Callable[[], NDArray[Any]]
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    colour_chunks: tuple[tuple[bytes, bytes], ...] = ()

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise DamagedFile(f"its size is {self.width}×{self.height}")
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and self.height * self.width > 2 * limit:
            raise UserError(
                f"too large a picture: {self.width}×{self.height} is more than {2 * limit} pixels "
                "(twice PIL.Image.MAX_IMAGE_PIXELS)"
            )


def check_single(frames: int) -> None:
    """Raise a UserError for a file that holds several pictures."""
    if frames > 1:
        raise UserError(f"holds {frames} frames; only single pictures are read")


def to_full_range(samples: NDArray[Any], peak: int) -> NDArray[Any]:
    """Scale values so that they use all of uint8 or, with a peak above 255, of uint16.

    Args:
      samples: whole numbers 0 … `peak`, at most 65535.

    Returns:
      The nearest integers to v · 255 / peak, or v · 65535 / peak.

    Raises:
      IndexError: a value is larger than the peak.
    """
    dtype = np.dtype(np.uint8 if peak < 256 else np.uint16)
    most = np.iinfo(dtype).max
    if peak == most:
        return samples.astype(dtype, copy=False)
    scaled = np.rint(np.arange(peak + 1) * (most / peak)).astype(dtype)
    return scaled[samples.astype(np.uint16, copy=False)]
