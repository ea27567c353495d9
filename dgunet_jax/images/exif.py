"""EXIF blocks: which way up the picture is, and what the camera says about it.

Source: CIPA DC-008 (Exif 3.0), 4.6. A block is a small TIFF file without pixels.
"""

import io
import struct
from typing import Any, BinaryIO

from numpy.typing import NDArray

from dgunet_jax.images import ifd
from dgunet_jax.images.ifd import ByteOrder, Directory

ORIENTATION = 274

_ORDERS: dict[bytes, ByteOrder] = {b"II*\0": "<", b"MM\0*": ">"}
_DESCRIPTION, _SOFTWARE = 270, 305
_RESOLUTION = frozenset({282, 283, 296})
# Make, model, date, artist, host computer, rating (two), copyright, and where more is said.
_CAMERA = frozenset({271, 272, 306, 315, 316, 18246, 18249, 33432, ifd.EXIF, ifd.GPS})


def turned_upright(exif: bytes) -> tuple[int, bytes | None]:
    """Takes the orientation out of an EXIF block.

    The thumbnail is taken out as well: it shows the picture before anything was done to it. All
    else stays where it is, because cameras' own tags refer to positions in the block.

    Args:
      exif: as found in a file, with or without the "Exif" in front.

    Returns:
      (orientation, block): what `upright` takes, and the block that goes with the result; 1 and
      None if it cannot be read.
    """
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = _ORDERS.get(exif[:4])
    if order is None:
        return 1, None
    block = bytearray(exif)
    orientation = 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (number,) = struct.unpack_from(f"{order}H", block, start)
        end = start + 2 + 12 * number
        for position in range(start + 2, end, 12):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", block, position)
            if (tag, kind, count) == (ORIENTATION, ifd.SHORT, 1):
                orientation = value if 1 <= value <= 8 else 1
                struct.pack_into(f"{order}H", block, position + 8, 1)
        struct.pack_into(f"{order}I", block, end, 0)  # where the thumbnail's directory is
    except struct.error:
        return 1, None
    return orientation, bytes(block)


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The image (H, W, ...) as the camera saw it.

    Args:
      image: as stored.
      orientation: 1 … 8, the tag's value: where the scene's top and left are in `image`.
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def of_tiff(file: BinaryIO, offset: int, order: ByteOrder, big: bool) -> bytes | None:
    """The EXIF block made of what a TIFF file's first directory says about the picture.

    Args:
      file, offset, order, big: as `ifd.read_directory` takes them.

    Returns:
      None if it says nothing but how the pixels are stored.
    """
    # Not the description: scientific programs keep their own description of the pixels there.
    tags = {*_CAMERA, *_RESOLUTION, _SOFTWARE, ORIENTATION}
    directory = ifd.read_directory(file, offset, order, big, tags)
    plain = ifd.numbers(order, ifd.SHORT, 1)
    said = {*directory.entries, *directory.children}
    if not said & _CAMERA and directory.entries.get(ORIENTATION, plain) == plain:
        return None
    magic = {order: magic for magic, order in _ORDERS.items()}[order]
    return magic + struct.pack(f"{order}I", 8) + ifd.pack_directory(directory, 8, order)


def for_tiff(exif: bytes) -> tuple[ByteOrder, Directory]:
    """The entries of an EXIF block that belong into a TIFF file, and the byte order they need."""
    order = _ORDERS[exif[:4]]
    (offset,) = struct.unpack_from(f"{order}I", exif, 4)
    tags = {*_CAMERA, *_RESOLUTION, _SOFTWARE, _DESCRIPTION}
    return order, ifd.read_directory(io.BytesIO(exif), offset, order, tags=tags)
