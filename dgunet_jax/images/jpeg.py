"""JPEG files, those of cameras that hold further pictures behind the first one (MPO) included.

The segments in front of the pixels are read here. The decoder gets a file without those that do not
matter for pixels: what may be wrong in them does not reach it.

Source: ITU-T T.81, annex B; the profile in its segments: ICC.1:2022, annex B.4.
"""

import io
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from dgunet_jax.images import icc
from dgunet_jax.images.picture import Picture
from dgunet_jax.images.stored import DamagedFile, StoredPicture
from dgunet_jax.system.errors import UserError

START = b"\xff\xd8"
QUALITY = 95
LONGEST_EXIF = 65_527  # a segment's length is 16 bits, of which EXIF leaves this
LARGEST_SIDE = 65_500  # libjpeg's limit

_MOST_BYTES = 8  # that a sample takes, and more than it can

_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE


def scan(file: BinaryIO) -> StoredPicture:
    """Reads all of a JPEG file in front of its pixels."""
    file.seek(len(START))
    kept, profile, exif, xmp, frame = [START], [], [], None, b""
    marker = 0
    while marker != _START_OF_SCAN:
        marker, content = _segment(file)
        if marker in _FRAMES:
            frame = content
        elif marker == _APP1 and content.startswith(b"Exif\0\0"):
            exif.append(content[6:])  # a long block continues in the next segment
        elif marker == _APP1 and content.startswith(_XMP):
            xmp = xmp or content[len(_XMP) :]
        elif marker == _APP2 and content.startswith(b"ICC_PROFILE\0"):
            profile.append(content[12:])
        # JFIF's and Adobe's segment say what the channels are.
        jfif = marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14
        adobe = marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12
        if jfif or adobe or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            kept.append(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content)
    if len(frame) < 6:
        raise DamagedFile("it does not say its size")
    depth, height, width, channels = struct.unpack_from(">BHHB", frame)
    if depth != 8:
        raise UserError(f"has {depth} bits per channel; only 8 are read from JPEG files")
    if channels not in (1, 3, 4):
        raise UserError(f"has {channels} channels; only grey, colour and CMYK pictures are read")
    pixels_at = file.tell()
    icc_profile = _joined(profile)

    def decode() -> NDArray[np.uint8]:
        file.seek(pixels_at)
        # Behind the pixels there may be anything, such as a film.
        most = _MOST_BYTES * height * width * channels + (1 << 20)
        image = JpegImageFile(io.BytesIO(b"".join([*kept, file.read(most)])))
        if channels == 4:
            return icc.cmyk_to_srgb(image, icc_profile)
        return np.array(image).reshape(height, width, channels)

    return StoredPicture(
        file_format="JPEG",
        height=height,
        width=width,
        channels=min(channels, 3),
        decode=decode,
        icc_profile=icc_profile if channels < 4 else None,
        exif=b"".join(exif) or None,
        xmp=xmp,
    )


def sides(content: bytes) -> tuple[int, int]:
    """Return the height and width of a JPEG picture that lies within something else."""
    file, marker, segment = io.BytesIO(content[len(START) :]), 0, b""
    while marker not in _FRAMES:
        marker, segment = _segment(file)
    _, height, width = struct.unpack_from(">BHH", segment)
    return height, width


def encode(picture: Picture) -> bytes:
    """The picture as a JPEG file of quality 95 with colours at full resolution."""
    metadata: dict[str, Any] = {}
    if picture.icc_profile:
        metadata["icc_profile"] = picture.icc_profile
    if picture.exif:
        metadata["exif"] = b"Exif\0\0" + picture.exif
    file = io.BytesIO()
    pixels = picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, subsampling=0, **metadata)
    return file.getvalue()


def _segment(file: BinaryIO) -> tuple[int, bytes]:
    """The next marker that begins a segment, and the content of that."""
    marker = 0
    while marker == 0 or marker in _ALONE:
        byte = file.read(1)
        while byte not in (b"\xff", b""):
            byte = file.read(1)  # there should be nothing between segments; it is passed over
        while byte == b"\xff":
            byte = file.read(1)
        if not byte:
            raise DamagedFile("it is truncated")
        marker = byte[0]
    if marker == _END_OF_IMAGE:
        raise DamagedFile("it ends before its pixels")
    length = int.from_bytes(file.read(2), "big")
    content = file.read(max(length - 2, 0))
    if length < 2 or len(content) < length - 2:
        raise DamagedFile("it is truncated")
    return marker, content


def _joined(parts: Sequence[bytes]) -> bytes | None:
    """The profile, whose parts begin with their numbers and their count."""
    if any(len(part) < 2 or part[1] != len(parts) for part in parts):
        return None
    if sorted(part[0] for part in parts) != [*range(1, len(parts) + 1)]:
        return None
    return b"".join(part[2:] for part in sorted(parts, key=lambda part: part[0])) or None
