"""EXIF blocks: which way up the picture is, and what the camera says about it.

Source: CIPA DC-008 (Exif 3.0), 4.6. A block is a small TIFF file without pixels.
"""

import io
import re
import struct
from typing import Any, BinaryIO

from numpy.typing import NDArray

from dgunet_jax.images import ifd
from dgunet_jax.images.ifd import ByteOrder, Directory

ORIENTATION = 274

_ORDERS: dict[bytes, ByteOrder] = {b"II*\0": "<", b"MM\0*": ">"}
_PREFIX = re.compile(rb"(?:Exif\0\0){0,8}")
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\s*[\"'<]")
_DESCRIPTION, _SOFTWARE = 270, 305
_RESOLUTION = frozenset({282, 283, 296})
# Make, model, date, artist, host computer, rating (two), copyright, and where more is said.
_CAMERA = frozenset({271, 272, 306, 315, 316, 18246, 18249, 33432, ifd.EXIF, ifd.GPS})


def turned_upright(exif: bytes, xmp: bytes = b"") -> tuple[int, bytes | None]:
    """Takes the orientation out of an EXIF block.

    The thumbnail is taken out as well: it shows the picture before anything was done to it. All
    else stays where it is, because cameras' own tags refer to positions in the block.

    Args:
      exif: as found in a file, with or without the "Exif" in front.
      xmp: the file's XMP packet, whose orientation counts where the block has none.

    Returns:
      (orientation, block): what `upright` takes, and the block that goes with the result, None if
      it cannot be read.
    """
    prefix = _PREFIX.match(exif)
    block = bytearray(memoryview(exif)[prefix.end() if prefix else 0 :])
    order = _ORDERS.get(bytes(block[:4]))
    orientation = _of_xmp(xmp)
    if order is None:
        return orientation, None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (number,) = struct.unpack_from(f"{order}H", block, start)
        end = start + 2 + 12 * number
        for position in range(start + 2, end, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, position)
            if (tag, count) == (ORIENTATION, 1) and kind in (ifd.SHORT, ifd.LONG):
                letter = "H" if kind == ifd.SHORT else "I"
                (value,) = struct.unpack_from(order + letter, block, position + 8)
                orientation = value if 1 <= value <= 8 else 1
                struct.pack_into(order + letter, block, position + 8, 1)
        struct.pack_into(f"{order}I", block, end, 0)  # where the thumbnail's directory is
    except struct.error:
        return _of_xmp(xmp), None
    return orientation, bytes(block)


def _of_xmp(xmp: bytes) -> int:
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else 1


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


def of_remark(remark: str) -> bytes:
    """Return an EXIF block that says how a picture was made, as its software."""
    text = remark.encode("ascii") + b"\0"
    directory = Directory({_SOFTWARE: ifd.Entry(ifd.ASCII, len(text), text)}, {})
    return b"II*\0" + struct.pack("<I", 8) + ifd.pack_directory(directory, 8, "<")


def for_tiff(exif: bytes) -> tuple[ByteOrder, Directory]:
    """The entries of an EXIF block that belong into a TIFF file, and the byte order they need."""
    order = _ORDERS[exif[:4]]
    (offset,) = struct.unpack_from(f"{order}I", exif, 4)
    tags = {*_CAMERA, *_RESOLUTION, _SOFTWARE, _DESCRIPTION}
    return order, ifd.read_directory(io.BytesIO(exif), offset, order, tags=tags)
