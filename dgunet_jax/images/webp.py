"""WebP files.

Source: RFC 9649, sections 2 and 3.
"""

import io
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from dgunet_jax.images.picture import Picture
from dgunet_jax.images.stored import DamagedFile, StoredPicture, check_single

LARGEST_SIDE = 16_383

_ALPHA, _ANIMATION = 0x10, 0x02  # flags in an extended file's header
_METADATA = (b"VP8X", b"ICCP", b"EXIF", b"XMP ")
_PIXELS = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L")
_BITSTREAM_HEADER = 10


def scan(file: BinaryIO) -> StoredPicture:
    """Reads all of a WebP file but its pixels."""
    places = _chunks(file)
    chunks = [(name, _content(file, name, at, length)) for name, at, length in places]
    first = dict(reversed(chunks))
    extended, lossy, lossless = (first.get(name, b"") for name in (b"VP8X", b"VP8 ", b"VP8L"))
    flags = 0
    # Of a lossless bit stream, 14 bits of width and of height, and one bit for alpha.
    packed = int.from_bytes(lossless[1:5], "little")
    if chunks[:1] and chunks[0][0] == b"VP8X" and len(extended) >= 10:
        flags = extended[0]
        width = 1 + int.from_bytes(extended[4:7], "little")
        height = 1 + int.from_bytes(extended[7:10], "little")
    elif len(lossless) == _BITSTREAM_HEADER:
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif len(lossy) == _BITSTREAM_HEADER:
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", lossy[6:]))
    else:
        raise DamagedFile("it does not say its size")
    if flags & _ANIMATION:
        check_single(sum(name == b"ANMF" for name, _ in chunks))
    has_alpha = bool(flags & _ALPHA) or b"ALPH" in first or bool(packed >> 28 & 1)

    def decode() -> NDArray[np.uint8]:
        parts = [b""]
        for name, at, length in places:
            if name in _PIXELS:
                content = _content(file, name, at, length, whole=True)
                parts += [
                    struct.pack("<4sI", name, len(content)),
                    content,
                    b"\0" * (len(content) % 2),
                ]
        parts[0] = b"RIFF%sWEBP" % struct.pack("<I", 4 + sum(map(len, parts)))
        image = WebPImageFile(io.BytesIO(b"".join(parts)))
        return np.array(image.convert("RGBA" if has_alpha else "RGB"))

    return StoredPicture(
        file_format="WEBP",
        height=height,
        width=width,
        channels=3,
        decode=decode,
        has_alpha=has_alpha,
        icc_profile=first.get(b"ICCP"),
        exif=first.get(b"EXIF"),
        xmp=first.get(b"XMP "),
    )


def encode(picture: Picture) -> bytes:
    """The picture as a lossless WebP file; grey becomes RGB, the format has no grey."""
    metadata: dict[str, Any] = {}
    # Bytes 16 to 19 of a profile name its colours; one of grey does not fit RGB.
    if picture.icc_profile and picture.icc_profile[16:20] != b"GRAY":
        metadata["icc_profile"] = picture.icc_profile
    if picture.exif:
        metadata["exif"] = picture.exif
    pixels = np.broadcast_to(picture.pixels, (*picture.pixels.shape[:2], 3))
    if picture.alpha is not None:
        pixels = np.concatenate([pixels, picture.alpha[..., None]], axis=2)
    file = io.BytesIO()
    # "exact" keeps the colours where the picture is transparent.
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(file, "WEBP", lossless=True, exact=True, **metadata)
    return file.getvalue()


def _chunks(file: BinaryIO) -> list[tuple[bytes, int, int]]:
    """Names of the chunks, and where their contents begin and how long they are."""
    end = file.seek(0, 2)
    file.seek(4)
    stated = int.from_bytes(file.read(4), "little") + 8
    if stated > end:
        raise DamagedFile("it is truncated")
    chunks = []
    position = 12
    while position + 8 <= stated:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if position + 8 + length > stated:
            raise DamagedFile("it is truncated")
        chunks.append((name, position + 8, length))
        position += 8 + length + length % 2
    return chunks


def _content(file: BinaryIO, name: bytes, position: int, length: int, whole: bool = False) -> bytes:
    """The content of a chunk, of other than metadata only the beginning unless it is wanted."""
    file.seek(position)
    whole = whole or name in _METADATA
    return file.read(length if whole else min(length, _BITSTREAM_HEADER))
