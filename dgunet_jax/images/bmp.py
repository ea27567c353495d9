"""BMP files.

The format has no grey: a palette that is the grey ramp is how it stores grey.
"""

import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from dgunet_jax.images.picture import Picture
from dgunet_jax.images.stored import DamagedFile, StoredPicture

_MOST_BYTES = 8  # that a pixel takes, and more than it can

# Of Pillow's modes: what to convert to.
_DECODED = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}


def scan(file: BinaryIO) -> StoredPicture:
    """Reads all of a BMP file but its pixels."""
    file.seek(0)
    header = BmpImageFile(file)
    mode = _DECODED[header.mode]
    width, height = header.size

    def decode() -> NDArray[np.uint8]:
        file.seek(0)
        image = BmpImageFile(io.BytesIO(file.read(_MOST_BYTES * (width + 4) * height + (1 << 20))))
        return np.array(image.convert(mode)).reshape(height, width, len(mode))

    stored = StoredPicture(
        file_format="BMP",
        height=height,
        width=width,
        channels=1 if mode == "L" else 3,
        decode=decode,
        has_alpha=mode == "RGBA",
    )
    match header.tile[0]:
        case ("raw", _, int(offset), (_, int(row_bytes), _)):
            # Rows are filled up to four bytes; the last one may go without that.
            if offset + row_bytes * height > file.seek(0, 2) + 3:
                raise DamagedFile("it is truncated")
    return stored


def encode(picture: Picture) -> bytes:
    """The picture as a BMP file, which holds neither profiles nor EXIF."""
    pixels = picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()
