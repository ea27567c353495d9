"""GIF files of one frame.

The blocks are read here; the decoder gets a file made of those that matter for pixels. All pictures
have palettes, so all are RGB.

Source: CompuServe, Graphics Interchange Format, version 89a.
"""

import io
import struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.GifImagePlugin import GifImageFile

from dgunet_jax.images.stored import DamagedFile, StoredPicture, check_single

_EXTENSION, _IMAGE, _GRAPHIC_CONTROL = b"!", b",", b"\xf9"


def scan(file: BinaryIO) -> StoredPicture:
    """Reads all of a GIF file but its pixels."""
    file.seek(0)
    screen = _exactly(file, 13)
    palette = _palette(file, screen[10])
    transparent: int | None = None
    image = b""
    frames = 0
    # Behind the last frame there may be anything, as in all other programs.
    while (kind := file.read(1)) in (_EXTENSION, _IMAGE):
        if kind == _EXTENSION:
            label, content = _exactly(file, 1), _blocks(file)
            if label == _GRAPHIC_CONTROL and len(content) >= 5 and frames == 0:
                transparent = content[4] if content[1] & 1 else None
            continue
        frames += 1
        descriptor = _exactly(file, 9)
        pixels = _palette(file, descriptor[8]) + _exactly(file, 1) + _blocks(file)
        if frames == 1:
            image = descriptor + pixels
    if frames == 0:
        raise DamagedFile("it holds no picture")
    check_single(frames)

    left, top, columns, rows = struct.unpack_from("<HHHH", image)
    width, height = struct.unpack_from("<HH", screen, 6)
    width, height = max(width, left + columns), max(height, top + rows)
    if max(width, height) > 0xFFFF:
        raise DamagedFile(f"its picture reaches to {width}×{height}")
    has_alpha = transparent is not None or (columns, rows) != (width, height)

    def decode() -> NDArray[np.uint8]:
        start = screen[:6] + struct.pack("<HH", width, height) + screen[10:] + palette
        decoder = GifImageFile(io.BytesIO(start + _IMAGE + image + b";"))
        numbers = np.array(decoder)
        shown = np.zeros(numbers.shape, bool)
        shown[top : top + rows, left : left + columns] = True
        if transparent is not None:
            shown &= numbers != transparent
        colours = np.array(decoder.convert("RGB"))
        if not has_alpha:
            return colours
        alpha = np.where(shown, np.uint8(255), np.uint8(0))
        return np.concatenate([colours, alpha[..., None]], axis=2)

    return StoredPicture(
        file_format="GIF",
        height=height,
        width=width,
        channels=3,
        decode=decode,
        has_alpha=has_alpha,
    )


def _palette(file: BinaryIO, flags: int) -> bytes:
    return _exactly(file, 3 << (flags & 7) + 1) if flags & 0x80 else b""


def _blocks(file: BinaryIO) -> bytes:
    """The data blocks up to the empty one, each with its length in front."""
    blocks = [_exactly(file, 1)]
    while (length := blocks[-1][-1]) > 0:
        blocks.append(_exactly(file, length + 1))  # with the length of the next one
    return b"".join(blocks)


def _exactly(file: BinaryIO, length: int) -> bytes:
    content = file.read(length)
    if len(content) < length:
        raise DamagedFile("it is truncated")
    return content
