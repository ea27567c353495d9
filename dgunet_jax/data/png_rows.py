"""The upper rows of a PNG file, without decompressing those below.

Source: W3C, Portable Network Graphics (third edition), 5 and 11.2.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images.png import SIGNATURE, decoded, read_chunks
from dgunet_jax.images.quiet import quietly
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import read_bytes

_CHANNELS = {0: 1, 2: 3}  # of the colour types grey and RGB
_UNUSUAL = {b"tRNS", b"eXIf", b"acTL"}  # transparency, orientation, animation


def upper_rows(path: Path, size: tuple[int, int], rows: int) -> NDArray[np.uint8] | None:
    """Decodes the first rows of a plain PNG file.

    Plain are files of 8-bit grey or RGB that are not interlaced and hold nothing that changes what
    the rows mean. The checksums of the whole file are verified.

    Args:
      path: a file of any kind.
      size: height and width of the picture that it should hold.
      rows: 1 to the height.

    Returns:
      (rows, width, 1 or 3); None of a file that is not plain or not as it should be, and says why
      when it is read as a whole.

    Raises:
      UserError: the file cannot be read.
    """
    chunks = _chunks(path)
    names = {name for name, _ in chunks}
    if names & _UNUSUAL or not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return None
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", chunks[0][1])
    if (height, width) != size or depth != 8 or colour not in _CHANNELS or any(methods):
        return None
    compressed = b"".join(content for name, content in chunks if name == b"IDAT")
    length = rows * (1 + width * _CHANNELS[colour])
    try:
        filtered = zlib.decompressobj().decompress(compressed, length)
    except zlib.error:
        return None
    return _unfiltered(filtered, rows, width, colour)


def _chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """Names and contents of the chunks of a PNG file; none if anything is wrong with them."""
    content = read_bytes(path)
    if not content.startswith(SIGNATURE):
        return []
    try:
        return read_chunks(io.BytesIO(content))
    except UserError:
        return []


def _unfiltered(filtered: bytes, rows: int, width: int, colour: int) -> NDArray[np.uint8] | None:
    """Undoes the rows' filters, which the decoder does for a file of these rows alone."""
    import imagecodecs

    header = struct.pack(">IIBBBBB", width, rows, 8, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered, 0)), (b"IEND", b"")]
    try:
        with quietly():
            return decoded(chunks)
    except imagecodecs.PngError:  # too little data, or no such filter
        return None
