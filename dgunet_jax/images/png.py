"""PNG files of every colour type and depth.

The chunks are read here, where every checksum is verified. The decoder gets a file of its own made
of the few chunks that matter for pixels: what may be wrong in the others does not reach it.

Source: W3C, Portable Network Graphics (third edition).
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images.picture import Picture
from dgunet_jax.images.stored import DamagedFile, StoredPicture, check_single
from dgunet_jax.system.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
_COLOURS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4}  # what they mean; bytes
_BEST_RATIO = 1032  # of bytes to compressed bytes: no deflate stream has a better one
_LARGEST_PROFILE = 1 << 24
_LONGEST_TEXT = 1 << 20
_EXIF_TEXT, _XMP_TEXT = b"Raw profile type exif", b"XML:com.adobe.xmp"


class _Chunk(NamedTuple):
    name: bytes
    offset: int
    length: int


def scan(file: BinaryIO) -> StoredPicture:
    """Reads all of a PNG file but its pixels."""
    chunks = list(_chunks(file))
    if chunks[0].name != b"IHDR" or chunks[0].length != 13:
        raise DamagedFile("it does not begin with a header")
    header = _content(file, chunks[0])
    width, height, depth, colour, *methods, interlaced = struct.unpack(">IIBBBBB", header)
    if depth not in _DEPTHS.get(colour, ()) or any(methods) or interlaced > 1:
        raise DamagedFile(f"its header says depth {depth}, colour type {colour}, {methods}")
    first = {chunk.name: chunk for chunk in reversed(chunks)}
    data = [chunk for chunk in chunks if chunk.name == b"IDAT"]
    if not data:
        raise DamagedFile("it has no image data")
    check_single(_frames(file, first))
    colours = _colour_chunks(file, first, colour, depth)

    def decode() -> NDArray[Any]:
        pieces = []
        for chunk in chunks:
            content = _content(file, chunk)  # of every chunk: its checksum is verified
            if chunk.name == b"IDAT":
                pieces.append((chunk.name, content))
        return decoded([(b"IHDR", header), *colours.items(), *pieces, (b"IEND", b"")])

    profile, exif = first.get(b"iCCP"), first.get(b"eXIf")
    texts = dict(_texts(file, chunks))
    stored = StoredPicture(
        file_format="PNG",
        height=height,
        width=width,
        channels=1 if colour in (_GREY, _GREY_ALPHA) else 3,
        has_alpha=colour in (_GREY_ALPHA, _RGB_ALPHA) or b"tRNS" in colours,
        bits=16 if depth == 16 else 8,
        decode=decode,
        icc_profile=_profile(_content(file, profile)) if profile else None,
        exif=_content(file, exif) if exif else _raw_profile(texts.get(_EXIF_TEXT, b"")),
        xmp=texts.get(_XMP_TEXT),
        colour_chunks=tuple(
            (name, _content(file, first[name]))
            for name, length in _COLOURS.items()
            if name in first and first[name].length == length
        ),
    )
    rows = height * (1 + (width * depth * _SAMPLES[colour] + 7) // 8)
    length = sum(chunk.length for chunk in data)
    if rows > _BEST_RATIO * length:
        raise DamagedFile(f"its image data is too short for {width}×{height} pixels")
    if length > 2 * rows + (1 << 20):
        raise DamagedFile(f"its image data is too long for {width}×{height} pixels")
    return stored


def read_chunks(file: BinaryIO) -> list[tuple[bytes, bytes]]:
    """Names and contents of all chunks of a PNG file.

    Raises:
      UserError: the file is truncated, a checksum is wrong, or there is a chunk of an unknown kind
        that pixels need.
    """
    return [(chunk.name, _content(file, chunk)) for chunk in _chunks(file)]


def decoded(chunks: Iterable[tuple[bytes, bytes]]) -> NDArray[Any]:
    """The pixels of a file made of chunks, given by name and content.

    Returns:
      uint8 or uint16 (H, W, samples).

    Raises:
      imagecodecs.PngError: they make no picture.
    """
    import imagecodecs

    parts = [part for name, content in chunks for part in _chunk(name, content)]
    samples = imagecodecs.png_decode(b"".join([SIGNATURE, *parts]))
    return samples[..., None] if samples.ndim == 2 else samples


def encode(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    import imagecodecs

    # A copy: where an axis has length one NumPy allows any stride, and imagecodecs does not.
    content = bytes(imagecodecs.png_encode(np.array(picture.samples(), order="C")))
    start = len(SIGNATURE) + 25  # behind the header
    extra = [part for chunk in picture.colour_chunks for part in _chunk(*chunk)]
    if picture.icc_profile:
        extra += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc_profile))
    if picture.exif:
        extra += _chunk(b"eXIf", picture.exif)
    if picture.remark:
        extra += _chunk(b"tEXt", b"Comment\0" + picture.remark.encode("ascii"))
    return b"".join([content[:start], *extra, content[start:]])


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """The chunks of the file, without reading their contents, as far as the last one."""
    offset = len(SIGNATURE)
    end = file.seek(0, 2)
    while True:
        file.seek(offset)
        start = file.read(8)
        if len(start) < 8:
            raise DamagedFile("it is truncated")
        length, name = struct.unpack(">I4s", start)
        if not name.isalpha():
            raise DamagedFile(f"there is no chunk at byte {offset}")
        if offset + length + 12 > end:
            raise DamagedFile("it is truncated")
        if name[0:1].isupper() and name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            raise UserError(f"has a chunk of an unknown kind, {name.decode()}, that pixels need")
        yield _Chunk(name, offset + 8, length)
        if name == b"IEND":
            return
        offset += length + 12


def _content(file: BinaryIO, chunk: _Chunk) -> bytes:
    file.seek(chunk.offset)
    content = file.read(chunk.length)
    if file.read(4) != struct.pack(">I", zlib.crc32(content, zlib.crc32(chunk.name))):
        raise DamagedFile(f"the checksum of its {chunk.name.decode()} chunk is wrong")
    return content


def _frames(file: BinaryIO, first: dict[bytes, _Chunk]) -> int:
    animation, data, frame = (first.get(name) for name in (b"acTL", b"IDAT", b"fcTL"))
    assert data is not None
    if animation is None or animation.length < 8 or animation.offset > data.offset:
        return 1
    frames = int.from_bytes(_content(file, animation)[:4], "big")
    if not 0 < frames < 1 << 31:
        return 1
    # Unless a frame begins before it, the image data is a picture for those who show no animation.
    return frames + (frame is None or frame.offset > data.offset)


def _colour_chunks(
    file: BinaryIO, first: dict[bytes, _Chunk], colour: int, depth: int
) -> dict[bytes, bytes]:
    """The palette and the transparency, where the colour type has them."""
    colours = {}
    if colour == _PALETTE:
        if b"PLTE" not in first:
            raise DamagedFile("it has no palette")
        palette = _content(file, first[b"PLTE"])[: 3 * 2**depth]
        if not palette or len(palette) % 3:
            raise DamagedFile(f"its palette has {len(palette)} bytes")
        colours[b"PLTE"] = palette
    if colour in (_GREY, _RGB, _PALETTE) and b"tRNS" in first:
        transparency = _content(file, first[b"tRNS"])
        if colour == _PALETTE:
            transparency = transparency[: len(colours[b"PLTE"]) // 3]
        elif len(transparency) != 2 * _SAMPLES[colour]:
            raise DamagedFile(f"its transparent colour has {len(transparency)} bytes")
        if transparency:
            colours[b"tRNS"] = transparency
    return colours


def _profile(content: bytes) -> bytes | None:
    return _unpacked(content.partition(b"\0")[2][1:], _LARGEST_PROFILE)


def _unpacked(compressed: bytes, most: int) -> bytes | None:
    """What was compressed; None if it is damaged or longer than `most` bytes."""
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(compressed, most)
    except zlib.error:
        return None
    return content if unpacking.eof else None


def _texts(file: BinaryIO, chunks: Iterable[_Chunk]) -> Iterator[tuple[bytes, bytes]]:
    """Keywords and texts of what tells the orientation where there is no EXIF block."""
    sought = {_EXIF_TEXT, _XMP_TEXT}  # the first of each
    for chunk in chunks:
        if chunk.name not in (b"tEXt", b"zTXt", b"iTXt") or chunk.length > _LONGEST_TEXT:
            continue
        keyword, _, rest = _content(file, chunk).partition(b"\0")
        if keyword not in sought:
            continue
        sought.remove(keyword)
        text: bytes | None = rest
        if chunk.name == b"zTXt":
            text = _unpacked(rest[1:], _LONGEST_TEXT)
        elif chunk.name == b"iTXt":
            compressed, (*_, text) = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
            text = _unpacked(text, _LONGEST_TEXT) if compressed else text
        if text is not None:
            yield keyword, text


def _raw_profile(text: bytes) -> bytes | None:
    """An EXIF block as ImageMagick writes it: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii")) or None
    except ValueError:
        return None


def _chunk(name: bytes, content: bytes) -> tuple[bytes, bytes, bytes]:
    """The parts of a chunk, not put together: that would copy the content."""
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I4s", len(content), name), content, struct.pack(">I", checksum)
