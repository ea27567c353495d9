"""Files of kinds that common encoders do not write, and what they are made of."""

import functools
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import tifffile
from PIL import Image

PHOTOGRAPHS = Path(skimage.__file__).parent / "data"

PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""PNG's colour types (grey, RGB, palette, grey and alpha, RGBA) and their channels."""

PNG_KINDS = [
    *((0, depth) for depth in (1, 2, 4, 8, 16)),
    *((3, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (2, 4, 6) for depth in (8, 16)),
]
"""Every colour type with every depth it may have."""

_PASSES = [
    "0::8,0::8",
    "0::8,4::8",
    "4::8,0::4",
    "0::4,2::4",
    "2::4,0::2",
    "0::2,1::2",
    "1::2,0::1",
]


def photograph(name: str = "chelsea", height: int = 37, width: int = 31) -> np.ndarray:
    """Return the middle of one of scikit-image's pictures, uint8 (height, width, 3)."""
    pixels = _whole(name)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width].copy()


@functools.cache
def _whole(name: str) -> np.ndarray:
    with Image.open(PHOTOGRAPHS / f"{name}.png") as image:
        return np.asarray(image.convert("RGB"))


def deep(picture: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return uint16 whose upper bytes are the picture, and lower bytes anything."""
    low = np.random.default_rng(seed).integers(0, 256, picture.shape, np.uint16)
    return picture.astype(np.uint16) << 8 | low


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(
    samples: np.ndarray,
    colour: int,
    depth: int,
    *,
    interlaced: bool = False,
    before: Iterable[tuple[bytes, bytes]] = (),
    after: Iterable[tuple[bytes, bytes]] = (),
    raw: bytes | None = None,
    pieces: int = 1,
) -> bytes:
    """Return a PNG file without filters.

    Args:
      samples: (H, W, channels) of values below 2**depth.
      colour: the colour type.
      depth: bits per sample.
      interlaced: in seven passes.
      before, after: names and contents of chunks around the image data.
      raw: other image data than that of `samples`.
      pieces: chunks the image data is cut into.
    """
    height, width, _ = samples.shape
    if raw is None:
        passes = _PASSES if interlaced else ["0::1,0::1"]
        raw = b"".join(_rows(_part(samples, steps), depth) for steps in passes)
    data = zlib.compress(raw)
    cut = -(-len(data) // pieces)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header),
            *(chunk(*named) for named in before),
            *(chunk(b"IDAT", data[i : i + cut]) for i in range(0, len(data), cut)),
            *(chunk(*named) for named in after),
            chunk(b"IEND", b""),
        ]
    )


def _part(samples: np.ndarray, steps: str) -> np.ndarray:
    (top, down), (left, right) = (
        (int(part.split("::")[0]), int(part.split("::")[1])) for part in steps.split(",")
    )
    return samples[top::down, left::right]


def _rows(samples: np.ndarray, depth: int) -> bytes:
    if samples.size == 0:
        return b""
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
    return b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in bits)


def tiff(path: Path, samples: np.ndarray, **options: Any) -> Path:
    """Write a TIFF file with tifffile's options and without a description of its own."""
    tifffile.imwrite(path, samples, metadata=None, **options)
    return path


def exif(orientation: int | None = None, order: str = "<", thumbnail: bytes = b"") -> bytes:
    """Return an EXIF block: make, orientation, and exposure time in the camera's directory."""
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    number = 2 + (orientation is not None)
    behind = 8 + 2 + 12 * number + 4
    make, exposure = b"Lens & Son\0", struct.pack(f"{order}II", 1, 250)
    directory = struct.pack(f"{order}H", number)
    directory += struct.pack(f"{order}HHII", 0x010F, 2, len(make), behind)
    if orientation is not None:
        directory += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    camera_at = behind + len(make)
    directory += struct.pack(f"{order}HHII", 0x8769, 4, 1, camera_at)
    camera = struct.pack(f"{order}H", 1)
    camera += struct.pack(f"{order}HHIII", 0x829A, 5, 1, camera_at + 18, 0) + exposure
    end = camera_at + len(camera)
    directory += struct.pack(f"{order}I", end if thumbnail else 0)
    content = header + directory + make + camera
    if thumbnail:
        content += struct.pack(f"{order}HHHII", 1, 0x0201, 4, 1, end + 18)
        content += struct.pack(f"{order}I", 0) + thumbnail
    return content


def profile(space: bytes, tags: bytes = b"\0\0\0\0") -> bytes:
    """Return a colour profile of version 2 with nothing in it but a header and the tags given."""
    header = struct.pack(
        ">I4sI4s4s4s", 128 + len(tags), b"none", 0x02400000, b"prtr", space, b"Lab "
    )
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)  # D50
    return header.ljust(128, b"\0") + tags


def cmyk_profile() -> bytes:
    """Return a colour profile whose black ink alone makes grey, while the others change nothing."""
    corners = np.zeros((2, 2, 2, 2, 3), np.uint8)
    corners[..., 0, 0] = 255  # lightness 100 without black ink
    corners[..., 1:] = 128  # a and b of grey
    table = b"mft1\0\0\0\0" + struct.pack(">4B", 4, 3, 2, 0)
    table += struct.pack(">9i", *(np.eye(3, dtype=int) << 16).ravel())
    table += bytes(range(256)) * 4 + corners.tobytes() + bytes(range(256)) * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 128 + 16, len(table)) + table
    return profile(b"CMYK", tags)
