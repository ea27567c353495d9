"""What a file says beside the pixels: EXIF, XMP and ICC colour profiles.

Sources: CIPA DC-008 (Exif 3.0), 4.6: an EXIF block is a small TIFF file without pixels.
ICC.1:2022, 7.2: the header of a profile.
"""

import io
import re
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_ORIENTATION, _SOFTWARE, _EXIF, _GPS, _INTEROPERABILITY = 274, 305, 34665, 34853, 40965
CAMERA_TAGS = frozenset({271, 272, 282, 283, 296, _SOFTWARE, 306, 315, 316, 18246, 18249, 33432})
"""Make, model, resolution, software, date, artist, host computer, rating and copyright."""
DESCRIPTION = 270

_SHORT, _LONG = 3, 4
_EXIF_PREFIX = re.compile(rb"(?:Exif\0\0){0,8}")
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])(?=\s*[\"'<])")
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST = 1 << 22  # bytes of tags; more is made to cost time and memory
_PROFILE_HEADER = 128
# Grey pixels of an RGB profile are RGB pixels with three equal channels.
_SPACES = {1: (b"GRAY", b"RGB "), 3: (b"RGB ",), 4: (b"CMYK",)}


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return the image (H, W, ...) as the camera saw it.

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


def turned_upright(
    exif: bytes | None, xmp: bytes | None = None
) -> tuple[int, bytes | None, bytes | None]:
    """Take the orientation out of a file's metadata.

    The EXIF thumbnail is taken out too: it shows the image before anything was done to it. All else
    stays where it is, because cameras' own tags refer to positions in the block.

    Args:
      exif: an EXIF block, with or without "Exif" in front.
      xmp: an XMP packet. Its orientation counts if the EXIF block has none.

    Returns:
      (orientation, exif, xmp): 1 … 8, as `upright` takes it, and the metadata of the upright image.
      The EXIF block is None if it cannot be read.
    """
    found = _XMP_ORIENTATION.search(xmp or b"")
    orientation = int(found[2]) if found else 1
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp) if xmp else None
    block = bytearray(_EXIF_PREFIX.sub(b"", exif or b"", count=1))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        return orientation, None, xmp
    of_exif = None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (number,) = struct.unpack_from(f"{order}H", block, start)
        end = start + 2 + 12 * number
        for position in range(start + 2, end, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, position)
            if (tag, count) == (_ORIENTATION, 1) and kind in (_SHORT, _LONG):
                value = f"{order}{'H' if kind == _SHORT else 'I'}"
                (of_exif,) = struct.unpack_from(value, block, position + 8)
                struct.pack_into(value, block, position + 8, 1)
        struct.pack_into(f"{order}I", block, end, 0)  # the offset of the thumbnail's directory
    except struct.error:
        return orientation, None, xmp
    if of_exif is not None:
        orientation = of_exif if 1 <= of_exif <= 8 else 1
    return orientation, bytes(block), xmp


def camera_tags(exif: Image.Exif, tags: Iterable[int]) -> dict[int, Any]:
    """Return the tags that belong to the image rather than to how a file stores it.

    Args:
      exif: of a TIFF file, or an EXIF block.
      tags: those to return, beside the directories of the camera and of GPS.

    Returns:
      Values by tag; none if they are damaged.
    """
    try:
        found = {tag: exif[tag] for tag in tags if tag in exif}
        for tag in (_EXIF, _GPS):
            if inner := exif.get_ifd(tag):
                found[tag] = {key: inner[key] for key in inner if key != _INTEROPERABILITY}
        _block(found)
    except Exception:  # Pillow raises errors of any type on damaged values
        return {}
    return found


def is_excessive(exif: bytes) -> bool:
    """Return whether the tags of an EXIF block have more bytes than any camera writes."""
    order = "<" if exif.startswith(b"II") else ">"
    start = int.from_bytes(exif[4:8], "little" if order == "<" else "big")
    return _claimed(io.BytesIO(exif), start, order, False) > _MOST


def _claimed(file: BinaryIO, offset: int, order: str, big: bool, nested: bool = True) -> int:
    """Return how many bytes the tags of a directory say they have, with the camera's and GPS'.

    All may claim the same bytes of the file, which Pillow reads for each.
    """
    number, entry = ("Q", "HHQQ") if big else ("H", "HHLL")
    size = struct.calcsize(order + entry)
    total = 0
    try:
        file.seek(offset)
        (count,) = struct.unpack(order + number, file.read(struct.calcsize(order + number)))
        entries = file.read(min(count, 1 << 16) * size)
        whole = entries[: len(entries) // size * size]
        for tag, kind, length, value in struct.iter_unpack(order + entry, whole):
            total += length * _SIZES.get(kind, 1)
            if nested and tag in (_EXIF, _GPS):
                total += _claimed(file, value, order, big, nested=False)
    except (struct.error, OSError, OverflowError, ValueError):  # as Pillow will find
        return total
    return total


def exif_of_tiff(file: BinaryIO, offset: int, order: str, big: bool) -> bytes | None:
    """Return the EXIF block made of a TIFF file's directory, None if it says nothing of the camera.

    None as well if its tags have more bytes than any camera writes.

    The description is left out: scientific programs describe the stored pixels there.

    Args:
      file: the TIFF file.
      offset: where the directory begins.
      order: "<" or ">", the file's byte order.
      big: whether it is a BigTIFF file.
    """
    if _claimed(file, offset, order, big) > _MOST:
        return None
    exif = Image.Exif()
    exif.endian, exif.bigtiff = order, big
    try:
        exif.load_from_fp(file, offset)
    except Exception:  # as in `camera_tags`
        return None
    found = camera_tags(exif, CAMERA_TAGS | {_ORIENTATION})
    return _block(found, order) if found else None


def exif_of_remark(remark: str) -> bytes:
    """Return an EXIF block that says how a picture was made, as its software."""
    return _block({_SOFTWARE: remark})


def _block(tags: dict[int, Any], endian: str | None = "<") -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    exif.update(tags)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def usable_profile(profile: bytes | None, channels: int) -> bytes | None:
    """Return the profile if it can be that of grey (1), RGB (3) or CMYK (4), else None."""
    if not profile or len(profile) < _PROFILE_HEADER or profile[36:40] != b"acsp":
        return None
    if int.from_bytes(profile[:4], "big") > len(profile):
        return None
    return profile if profile[16:20] in _SPACES[channels] else None


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> NDArray[np.uint8]:
    """Convert CMYK through its profile, or, without a usable one, by R = (1 − C) (1 − K) and so on.

    The profile is applied relative to the white of the paper and with black point compensation.

    Args:
      image: of Pillow's mode CMYK.
      profile: its colour profile, if it has one.

    Returns:
      sRGB, uint8 (H, W, 3).
    """
    if (found := usable_profile(profile, 4)) is not None:
        try:
            converted = ImageCms.profileToProfile(
                image,
                io.BytesIO(found),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return np.array(converted)
        except ImageCms.PyCMSError:
            pass  # the profile is damaged behind its header
    return np.array(image.convert("RGB"))
