"""Writing TIFF files: one picture of 8 or 16 bits, compressed without loss.

Source: TIFF 6.0 (Adobe, 1992), sections 14 (differences) and 18 (alpha).
"""

import itertools
import struct
import zlib

from dgunet_jax.images import exif, ifd
from dgunet_jax.images.ifd import LONG, SHORT, UNDEFINED, ByteOrder, Directory, Entry
from dgunet_jax.images.picture import Picture
from dgunet_jax.system.errors import UserError

_STRIP_BYTES = 1 << 18
_DEFLATE, _BLACK_IS_ZERO, _RGB, _CHUNKY, _DIFFERENCES, _STRAIGHT_ALPHA = 8, 1, 2, 1, 2, 2
_HEADER = 8
_LARGEST_FILE = (1 << 32) - 1


def encode(picture: Picture) -> bytes:
    """The picture as a TIFF file.

    Its byte order is that of the picture's EXIF block, whose contents may depend on it.

    Raises:
      UserError: the file would be larger than the format's offsets can tell.
    """
    order, camera = exif.for_tiff(picture.exif) if picture.exif else ("<", Directory({}, {}))
    height, width, channels = picture.pixels.shape
    strips, rows = _strips(picture, order)
    lengths = [len(strip) for strip in strips]
    samples = channels + (picture.alpha is not None)
    entries = {
        **camera.entries,
        256: ifd.numbers(order, LONG, width),
        257: ifd.numbers(order, LONG, height),
        258: ifd.numbers(order, SHORT, *(picture.bits,) * samples),
        259: ifd.numbers(order, SHORT, _DEFLATE),
        262: ifd.numbers(order, SHORT, _BLACK_IS_ZERO if channels == 1 else _RGB),
        277: ifd.numbers(order, SHORT, samples),
        278: ifd.numbers(order, LONG, rows),
        279: ifd.numbers(order, LONG, *lengths),
        284: ifd.numbers(order, SHORT, _CHUNKY),
        317: ifd.numbers(order, SHORT, _DIFFERENCES),
    }
    if picture.alpha is not None:
        entries[338] = ifd.numbers(order, SHORT, _STRAIGHT_ALPHA)
    if profile := picture.icc_profile:
        entries[34675] = Entry(UNDEFINED, len(profile), profile)

    def directory(offsets: list[int]) -> bytes:
        with_offsets = {**entries, 273: ifd.numbers(order, LONG, *offsets)}
        return ifd.pack_directory(Directory(with_offsets, camera.children), _HEADER, order)

    first = _HEADER + len(directory([0] * len(strips)))
    if first + sum(lengths) > _LARGEST_FILE:
        raise UserError("is too large for a TIFF file, which ends at 4 GiB")
    offsets = [*itertools.accumulate(lengths[:-1], initial=first)]
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", _HEADER)
    return b"".join([header, directory(offsets), *strips])


def _strips(picture: Picture, order: ByteOrder) -> tuple[list[bytes], int]:
    """The compressed strips, and how many rows each but the last has."""
    samples = picture.samples()
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]  # modulo 2^bits
    stored = differences.astype(samples.dtype.newbyteorder(order))
    rows = max(1, _STRIP_BYTES // stored[0].nbytes)
    starts = range(0, len(stored), rows)
    return [zlib.compress(stored[start : start + rows].tobytes()) for start in starts], rows
