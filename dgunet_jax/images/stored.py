"""What the reader of a format finds out about a file before it decodes it."""

import dataclasses
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.system.errors import UserError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

# File name endings and the one each format is written with.
ENDINGS = {
    ".bmp": ".bmp",
    ".gif": ".png",  # read only
    ".jpeg": ".jpg",
    ".jpg": ".jpg",
    ".png": ".png",
    ".tif": ".tif",
    ".tiff": ".tif",
    ".webp": ".webp",
}


# Endings of picture formats that are not read.
OTHER_ENDINGS = {
    *(".arw", ".avif", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
    *(".exr", ".hdr", ".heic", ".heif", ".j2k", ".jp2", ".jpx", ".jxl", ".jxr", ".psd", ".qoi"),
    *(".pam", ".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
}


class NotAPicture(UserError):
    """A file that nothing in it says to be a picture."""


class DamagedFile(UserError):
    """A file that contradicts its own format; the message says where."""

    def __init__(self, what: str):
        super().__init__(f"is damaged: {what}")


@dataclasses.dataclass(frozen=True, eq=False)
class StoredPicture:
    """One picture in a file, as it lies there: not turned upright yet.

    Attributes:
      file_format: one of FORMATS.
      height, width: of the pixels in the file.
      channels: 1 for grey, 3 for RGB.
      decode: returns uint8 or uint16 (height, width, channels + has_alpha), alpha last. To be
        called while the file is open; raises anything on a damaged file.
      has_alpha: whether there is an alpha channel.
      bits: per channel of what `decode` returns, 8 or 16.
      icc_profile, exif, xmp: as they are in the file, unchecked.
      colour_chunks: see `picture.Picture`.

    Raises:
      UserError: there are no pixels, or more than twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """

    file_format: str
    height: int
    width: int
    channels: int
    decode: Callable[[], NDArray[Any]]
    has_alpha: bool = False
    bits: int = 8
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
    """Raises a UserError for a file that holds several pictures."""
    if frames > 1:
        raise UserError(f"holds {frames} frames; only single pictures are read")
