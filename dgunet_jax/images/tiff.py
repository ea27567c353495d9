"""TIFF files, read with tifffile and written with Pillow's directories.

Source: TIFF 6.0 (Adobe, 1992), sections 14 (differences) and 18 (alpha), and supplement 2.
"""

import contextlib
import io
import itertools
import math
import re
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dgunet_jax.images.metadata import (
    CAMERA_TAGS,
    DESCRIPTION,
    camera_tags,
    cmyk_to_srgb,
    exif_of_tiff,
    is_excessive,
)
from dgunet_jax.images.picture import Picture, bands
from dgunet_jax.images.stored import DamagedFile, Stored, check_single, to_full_range
from dgunet_jax.system.errors import UserError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_SAMPLES = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_NAMES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
_JPEG, _DEFLATE, _WEBP = 7, 8, 50001
# None, fax (three), LZW, PackBits, old deflate, LZMA and zstd.
_COMPRESSIONS = {1, 2, 3, 4, 5, 32773, 32946, 34925, 50000, _JPEG, _DEFLATE, _WEBP}
_UNSIGNED, _INK_SET, _CMYK_INKS = 1, 332, 1
_PREMULTIPLIED, _STRAIGHT = 1, 2  # kinds of alpha
_REDUCED, _MASK = 1, 4  # flags of a further picture in the file
_XMP, _COLOUR_MAP, _ICC_PROFILE = 700, 320, 34675
_DIFFERENCES = 2
_LARGE_TILE = 1 << 20  # pixels; even small pictures may be stored in tiles of so many
_MOST_PAGES = 64  # that are looked at, to tell previews from pictures
_UIC_PLANES = 33629  # MetaMorph's
_LONGEST_TEXT = 1 << 16  # of a description, as far as it is looked at
_STRIP_BYTES = 1 << 18


def scan(file: BinaryIO) -> Stored:
    """Read all of a TIFF file but its pixels."""
    from tifffile import TiffFile

    tiff = TiffFile(file, _multifile=False)
    page = tiff.pages.first
    samples, bits = _kind(page)
    palette = _palette(page) if page.photometric == _PALETTE else None
    profile, xmp = (page.tags.valueof(tag) for tag in (_ICC_PROFILE, _XMP))
    stored = Stored(
        format="TIFF",
        height=page.imagelength,
        width=page.imagewidth,
        channels=1 if page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) else 3,
        has_alpha=page.samplesperpixel > samples,
        bits=16 if (bits if palette is None else 8 * palette.itemsize) > 8 else 8,
        decode=lambda: _decode(page, file, palette, profile),
        icc_profile=profile if page.photometric != _CMYK else None,
        exif=exif_of_tiff(file, page.offset, tiff.byteorder, tiff.is_bigtiff),
        xmp=xmp if isinstance(xmp, bytes) else None,
    )
    _check_pages(tiff, page)
    return stored


def _kind(page: "TiffPage") -> tuple[int, int]:
    """Return the number of colour samples and their bits.

    Raises:
      UserError: the pixels are of a kind that is not read exactly.
    """
    kind, bits, number = page.photometric, page.bitspersample, page.samplesperpixel
    name = _NAMES.get(kind)
    if name is None or page.tags.valueof(_INK_SET, _CMYK_INKS) != _CMYK_INKS:
        raise UserError(
            f"its colours are {_named(kind)}; only grey, palette, RGB, YCbCr and CMYK are read"
        )
    deepest = 8 if kind in (_PALETTE, _CMYK, _YCBCR) else 16
    if page.sampleformat != _UNSIGNED or bits not in range(1, deepest + 1):
        numbers = {1: "whole numbers", 2: "signed numbers", 3: "floating-point numbers"}
        raise UserError(
            f"its {name} values are {numbers.get(page.sampleformat, 'numbers')} of {bits} bits; "
            f"only whole numbers of 1 to {deepest} bits are read"
        )
    if page.compression not in _COMPRESSIONS or (kind == _YCBCR and page.compression != _JPEG):
        raise UserError(f"its compression, {_named(page.compression)} of {name}, is not read")
    # Where nothing is said of it, a fourth channel of RGB is alpha by custom.
    extra = number - _SAMPLES[kind]
    kinds = page.extrasamples or (_STRAIGHT,) * extra
    if extra not in (0, 1) or not {_PREMULTIPLIED, _STRAIGHT}.issuperset(kinds[:extra]):
        raise UserError(f"has {number} channels that are not {name} with or without alpha")
    return _SAMPLES[kind], bits


def _named(value: Any) -> str:
    return getattr(value, "name", str(value))


def _check_pages(tiff: "TiffFile", page: "TiffPage") -> None:
    """Raise a UserError unless there is one picture; previews of it do not count."""
    number = len(tiff.pages)
    if page.subfiletype & _REDUCED and (number > 1 or page.subifds):
        raise UserError("begins with a preview, as camera raw files do; those are not read")
    if number > _MOST_PAGES:
        check_single(number)
    flags = (tiff.pages[index].aspage().subfiletype for index in range(1, number))
    check_single(1 + sum(not kind & _REDUCED or bool(kind & _MASK) for kind in flags))
    check_single(max(page.imagedepth, _described(page)))


def _described(page: "TiffPage") -> int:
    """Return how many pictures the only directory of a file is said to stand for.

    Microscopes' programs write stacks of which only the first picture has a directory.
    """
    number = page.tags[_UIC_PLANES].count if _UIC_PLANES in page.tags else 1
    text = page.description[:_LONGEST_TEXT]
    if page.imagej_description is not None:
        found = re.search(r"^images=(\d+)", text, re.M)
        number = int(found[1]) if found else number
    if page.shaped_description is not None:
        found = re.search(r"\"?shape\"?[=:] ?[\[(]([\d, ]+)", text)
        sides = map(int, re.findall(r"\d+", found[1])) if found else ()
        number = math.prod(sides) // page.size
    if page.is_ome:
        sizes = dict(reversed(re.findall(r"\bSize([ZTC])=[\"'](\d+)[\"']", text)))
        depth, times, channels = (int(sizes.get(axis, 1)) for axis in "ZTC")
        number = depth * times * -(-channels // page.samplesperpixel)
    return number


def _palette(page: "TiffPage") -> NDArray[Any]:
    """Return (entries, 3): uint8 if that holds the palette's 16 bits, else uint16."""
    entries = 2**page.bitspersample
    palette = np.asarray(page.tags.valueof(_COLOUR_MAP, ()))
    if palette.size != 3 * entries:
        raise DamagedFile(f"its palette has {palette.size} values instead of {3 * entries}")
    palette = palette.reshape(3, entries).T
    # Writers leave 8 bits as they are, or widen them to 16 by zeros or by repeating them.
    for narrow, factor in ((palette & 0xFF, 1), (palette >> 8, 256), (palette >> 8, 257)):
        if np.array_equal(palette, narrow * factor):
            return narrow.astype(np.uint8)
    return palette.astype(np.uint16)


def _decode(
    page: "TiffPage", file: BinaryIO, palette: NDArray[Any] | None, profile: bytes | None
) -> NDArray[Any]:
    """Return grey or RGB, and alpha: uint8 or uint16 (H, W, channels)."""
    _check_pieces(page, file)
    planes, _, height, width, depth = page.shaped
    stored = page.asarray(maxworkers=1).reshape(planes, height, width, depth)
    stored = stored[0] if planes == 1 else np.moveaxis(stored[..., 0], 0, -1)
    if palette is None:
        stored = to_full_range(stored, (1 << page.bitspersample) - 1)
    number = _SAMPLES[page.photometric]
    colours, alpha = stored[..., :number], stored[..., number:]
    if page.photometric == _WHITE_IS_ZERO:
        colours = ~colours
    elif palette is not None:
        colours = palette[colours[..., 0]]
    elif page.photometric == _CMYK:
        inks = np.ascontiguousarray(colours)
        colours = cmyk_to_srgb(Image.frombytes("CMYK", (width, height), inks.tobytes()), profile)
    if alpha.size and page.extrasamples[:1] == (_PREMULTIPLIED,):
        colours = _divided(colours, alpha)
    return np.concatenate([colours, alpha], axis=2, dtype=colours.dtype)


def _check_pieces(page: "TiffPage", file: BinaryIO) -> None:
    """Raise a UserError unless all strips or tiles lie in the file, with sizes that can be."""
    size, number, lengths = file.seek(0, 2), math.prod(page.chunked), page.databytecounts
    pieces = list(zip(page.dataoffsets, lengths, strict=False))[:number]
    if len(pieces) < number or any(not n or at + n > size for at, n in pieces):
        raise DamagedFile("it is truncated, or pieces of its pixels are missing")
    if sum(lengths) > 2 * size:
        raise DamagedFile("the pieces of its pixels are longer than the file")
    areas = [math.prod(page.chunks)]
    for at, length in pieces if page.compression in (_JPEG, _WEBP) else ():
        file.seek(at)
        with contextlib.suppress(UnidentifiedImageError):  # of two channels
            areas.append(math.prod(Image.open(io.BytesIO(file.read(length))).size))
    if max(areas) > 12 * page.imagewidth * page.imagelength + _LARGE_TILE:
        raise DamagedFile("pieces of its pixels are larger than the picture")


def _divided(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return colours that alpha was multiplied into, without it; black where alpha is zero."""
    peak = np.iinfo(colours.dtype).max
    divided = np.empty_like(colours)
    for rows in bands(colours):
        scaled = colours[rows].astype(np.float64) * peak / np.maximum(alpha[rows], 1)
        divided[rows] = np.rint(np.minimum(scaled, peak) * (alpha[rows] > 0))
    return divided


def encode(picture: Picture) -> bytes:
    """Return the picture as a TIFF file of strips, compressed without loss.

    Its byte order is that of the picture's EXIF block.
    """
    block = picture.exif or b"II*\0"
    exif = Image.Exif()
    exif.load(b"" if is_excessive(block) else picture.exif or b"")
    height, width, channels = picture.pixels.shape
    samples = picture.samples()
    little = block.startswith(b"II")
    strips, rows = _strips(samples.astype(samples.dtype.newbyteorder("<" if little else ">")))
    lengths = [len(strip) for strip in strips]
    tags = ImageFileDirectory_v2(prefix=block[:2])
    entries = {
        **camera_tags(exif, CAMERA_TAGS | {DESCRIPTION}),
        256: width,
        257: height,
        258: (picture.bits,) * samples.shape[2],
        259: _DEFLATE,
        262: _BLACK_IS_ZERO if channels == 1 else _RGB,
        273: tuple(itertools.accumulate(lengths[:-1], initial=0)),  # from the directory's end on
        277: samples.shape[2],
        278: rows,
        279: tuple(lengths),
        317: _DIFFERENCES,
        338: _STRAIGHT if picture.alpha is not None else None,
        _XMP: picture.xmp,
        _ICC_PROFILE: picture.icc_profile,
    }
    for tag, value in entries.items():
        if value is not None:
            tags[tag] = value
    header = b"II*\0\x08\0\0\0" if little else b"MM\0*\0\0\0\x08"
    return b"".join([header, tags.tobytes(len(header)), *strips])


def _strips(samples: NDArray[Any]) -> tuple[list[bytes], int]:
    """Return the compressed strips, and how many rows each but the last has."""
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]  # modulo 2^bits
    rows = max(1, _STRIP_BYTES // samples[0].nbytes)
    starts = range(0, len(samples), rows)
    return [zlib.compress(differences[start : start + rows].tobytes()) for start in starts], rows
