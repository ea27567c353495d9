"""Small picture files whose headers claim much: bytes that are shared, parts without end, sizes."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from tests.images.encodings import png

TINY = np.zeros((8, 8, 1), np.uint8)


def ifd_entry(tag: int, kind: int, count: int, value: int) -> bytes:
    """An entry of a little-endian directory."""
    return struct.pack("<HHII", tag, kind, count, value)


def tiff_file(
    entries: Iterable[tuple[int, int, int, int | None]], content: bytes = b"", further: bytes = b""
) -> bytes:
    """A little-endian TIFF file of one directory.

    Args:
      entries: tag, kind, count and value; None: where `content` lies, behind the directory.
      content: what entries refer to.
      further: the next directory's offset.
    """
    entries = sorted(entries)
    start = 8 + 2 + 12 * len(entries) + 4
    table = b"".join(ifd_entry(*e[:3], start if e[3] is None else e[3]) for e in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table
    return head + (further or b"\0\0\0\0") + content


def grey_tags(side: int, compression: int = 1, length: int = 0) -> list[tuple]:
    """Entries of a grey picture whose only strip is the file's content."""
    return [
        *((256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, compression)),
        *((262, 3, 1, 1), (273, 4, 1, None), (277, 3, 1, 1), (278, 4, 1, side)),
        (279, 4, 1, length or side * side),
    ]


def shared_exif(size: int) -> bytes:
    """An EXIF block whose 4,000 tags all have the same bytes, in a directory of a directory."""
    inside = 8 + 2 + 12 + 4
    behind = inside + 2 + 12 * 4000 + 4
    entries = b"".join(ifd_entry(tag, 7, size, behind) for tag in range(36_864, 40_864))
    pointer = struct.pack("<IH", 8, 1) + ifd_entry(0x8769, 4, 1, inside) + b"\0\0\0\0"
    return b"II*\0" + pointer + struct.pack("<H", 4000) + entries + b"\0\0\0\0" + b"\1" * size


def segment(marker: int, content: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_file(segments: bytes) -> bytes:
    frame = segment(0xC0, b"\x08\0\x08\0\x08\1\1\x11\0")
    return b"\xff\xd8" + segments + frame + segment(0xDA, b"\1\1\0\0\x3f\0") + b"\0" * 10


def riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def webp_chunk(name: bytes, content: bytes = b"") -> bytes:
    return name + struct.pack("<I", len(content)) + content


def _bombs() -> Iterator[tuple[str, Callable[[int], bytes]]]:
    """Names, and functions from about how many bytes there are to the content of a file."""
    image = b",\0\0\0\0\x08\0\x08\0\0\2"
    gif = b"GIF89a\x08\0\x08\0\0\0\0"
    canvas = webp_chunk(b"VP8X", bytes(10))

    yield "PNG, EXIF of shared bytes", lambda n: png(TINY, 0, 8, before=[(b"eXIf", shared_exif(n))])
    yield (
        "PNG, repeated EXIF header",
        lambda n: png(TINY, 0, 8, before=[(b"eXIf", b"Exif\0\0" * (n // 6))]),
    )
    yield "PNG of empty chunks", lambda n: png(TINY, 0, 8, before=[(b"teXt", b"")] * (n // 12))
    yield "PNG of empty image data", lambda n: png(TINY, 0, 8, before=[(b"IDAT", b"")] * (n // 12))
    for name, start in {
        "profile": b"iCCPname\0\0",
        "text": b"zTXtRaw profile type exif\0\0",
        "XMP": b"iTXtXML:com.adobe.xmp\0\1\0\0\0",
    }.items():
        yield (
            f"PNG, {name} that unpacks to a thousand times its size",
            lambda n, start=start: png(
                TINY, 0, 8, before=[(start[:4], start[4:] + zlib.compress(bytes(500 * n), 1))]
            ),
        )
    text = b"Raw profile type exif\0\0" + zlib.compress(bytes(1_000_000), 9)
    yield "PNG of packed texts", lambda n: png(TINY, 0, 8, before=[(b"zTXt", text)] * (n // 1000))
    yield "JPEG of empty segments", lambda n: jpeg_file(segment(0xE5) * (n // 4))
    yield "JPEG of EXIF in pieces", lambda n: jpeg_file(segment(0xE1, b"Exif\0\0A") * (n // 11))
    yield "JPEG filled up", lambda n: jpeg_file(b"\xff" * n)
    yield "JPEG with junk between segments", lambda n: jpeg_file(segment(0xE5) + bytes(n))
    yield "GIF of short blocks", lambda n: gif + image + b"\1A" * (n // 2) + b"\0;"
    yield "GIF of empty extensions", lambda n: gif + b"!\xfe\0" * (n // 3) + image + b"\1A\0;"
    yield "GIF of empty frames", lambda n: gif + (image + b"\0") * (n // 12) + b";"
    yield "WebP of empty chunks", lambda n: riff(canvas + webp_chunk(b"ABCD") * (n // 8))
    yield (
        "WebP, EXIF of shared bytes",
        lambda n: riff(canvas + webp_chunk(b"EXIF", shared_exif(n // 2 * 2))),
    )
    for kind, width in ((1, 1), (2, 1), (3, 2), (7, 1)):
        yield (
            f"TIFF, tags of kind {kind} with shared bytes",
            lambda n, kind=kind, width=width: tiff_file(
                [*grey_tags(16), *((tag, kind, n // width, None) for tag in range(1000, 4990))],
                b"\1" * n,
            ),
        )
    yield (
        "TIFF of millions of strips",
        lambda n: tiff_file(
            [*grey_tags(16)[:5], (273, 1, 4 * n, None), (277, 3, 1, 1), (279, 1, 4 * n, None)],
            b"\1" * n,
        ),
    )
    stretched = b"\xff\x0a" + (((3 << 1) | (3 << 36)) + (40_000 << 3) + (40_000 << 38)).to_bytes(
        9, "little"
    )
    yield "JPEG XL of a large size", lambda n: stretched + b"\1" * n
    yield "PNM of a large size", lambda n: b"P5 12000 12000 255\n" + bytes(n)
    yield "PNM of comments", lambda n: b"P5 " + b"# \n" * (n // 3) + b"1 1 255\n0"
    yield "TIFF of directories", lambda n: _chain(n, b"\0\0")
    yield "TIFF of previews", lambda n: _chain(n, b"\1\0" + ifd_entry(254, 4, 1, 1))
    yield (
        "TIFF, EXIF of shared bytes",
        lambda n: tiff_file(
            [*grey_tags(16), (0x8769, 4, 1, None)],
            struct.pack("<H", 4000)
            + b"".join(ifd_entry(tag, 7, n, 1000) for tag in range(20_000, 24_000))
            + bytes(4 + n),
        ),
    )


def _chain(size: int, directory: bytes) -> bytes:
    """A TIFF file with one directory after the other."""
    length = len(directory) + 4
    start = 8 + 2 + 12 * 9 + 4 + 256
    offsets = range(start + length, start + size, length)
    first = tiff_file(grey_tags(16), bytes(256), struct.pack("<I", start))
    chain = b"".join(directory + struct.pack("<I", offset) for offset in offsets)
    return first + chain + directory + b"\0\0\0\0"


def embedded(form: str, side: int, **options: object) -> bytes:
    """A black picture, to lie in a TIFF file that says another size."""
    file = io.BytesIO()
    Image.new("L" if form == "JPEG" else "RGB", (side, side)).save(file, form, **options)
    return file.getvalue()


BOMBS = dict(_bombs())
