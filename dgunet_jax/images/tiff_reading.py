"""TIFF files: what they say about their picture, and its pixels.

Source: TIFF 6.0 (Adobe, 1992), and supplement 2 (2002) for deflate and JPEG.
"""

import io
import math
import re
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.images import exif, icc, ifd, jpeg, webp
from dgunet_jax.images.ifd import ByteOrder
from dgunet_jax.images.picture import bands
from dgunet_jax.images.stored import DamagedFile, StoredPicture, check_single
from dgunet_jax.system.errors import UserError, either

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_SAMPLES = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_BITS = {
    _WHITE_IS_ZERO: (1, 2, 4, 8, 16),
    _BLACK_IS_ZERO: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _CMYK: (8,),
    _YCBCR: (8,),
}
_NAMES = {
    _WHITE_IS_ZERO: "grey",
    _BLACK_IS_ZERO: "grey",
    _RGB: "RGB",
    _PALETTE: "palette",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
}
_LARGE_TILE = 1 << 20  # pixels; even small pictures may be stored in tiles of so many
_NONE, _LZW, _JPEG, _DEFLATE, _PACKBITS = 1, 5, 7, 8, 32773
_CCITT, _OLD_DEFLATE, _LZMA, _ZSTD, _WEBP = (2, 3, 4), 32946, 34925, 50000, 50001
_COMPRESSIONS = {
    _NONE, *_CCITT, _LZW, _JPEG, _DEFLATE, _PACKBITS, _OLD_DEFLATE, _LZMA, _ZSTD, _WEBP
}  # fmt: skip
_PREMULTIPLIED, _STRAIGHT = 1, 2  # kinds of alpha
_REDUCED, _MASK = 1, 4  # flags of a further picture in the file
_UNSIGNED, _HORIZONTAL_DIFFERENCES = 1, 2
_LISTS = (273, 279, 324, 325)  # offsets and lengths of strips and of tiles
_MOST_PIECES = 1 << 20
_UIC_PLANES = 33629  # MetaMorph's
_LONGEST_TEXT = 1 << 16  # of a description, as far as it is looked at
_XMP = 700
_COLOUR_MAP, _INK_SET, _COEFFICIENTS, _REFERENCE, _ICC_PROFILE = 320, 332, 529, 532, 34675


def scan(file: BinaryIO) -> StoredPicture:
    """Reads all of a TIFF file but its pixels."""
    from tifffile import TiffFile

    _check_lists(file)
    file.seek(0)
    tiff = TiffFile(file)
    page = tiff.pages.first
    _check_pages(tiff, page)
    _check_kind(page)
    palette = _palette(page) if page.photometric == _PALETTE else None

    def decode() -> NDArray[Any]:
        return _decoded(page, _samples(page, file), palette)

    depth = page.bitspersample if palette is None else 8 * palette.dtype.itemsize
    return StoredPicture(
        file_format="TIFF",
        height=page.imagelength,
        width=page.imagewidth,
        channels=1 if page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) else 3,
        decode=decode,
        has_alpha=page.samplesperpixel > _SAMPLES[page.photometric],
        bits=max(8, depth),
        icc_profile=_profile(page) if page.photometric != _CMYK else None,
        exif=exif.of_tiff(file, page.offset, tiff.byteorder, tiff.is_bigtiff),
        xmp=xmp if isinstance(xmp := page.tags.valueof(_XMP), bytes) else None,
    )


def _check_lists(file: BinaryIO) -> None:
    """Raises a UserError if the file lists more pieces of its pixels than any picture has.

    They would become Python's integers, many times as large as they are in the file.
    """
    file.seek(0)
    start = file.read(16)
    order: ByteOrder = "<" if start.startswith(b"II") else ">"
    big = b"+" in start[2:4]
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)
    for tag, _, count, _ in ifd.table(file, min(offset, 1 << 62), order, big):
        if tag in _LISTS and count > _MOST_PIECES:
            raise DamagedFile(f"it lists {count} pieces of its pixels")


def _check_pages(tiff: "TiffFile", page: "TiffPage") -> None:
    """Raises a UserError unless there is one picture; previews of it do not count."""
    number = len(tiff.pages)
    if page.subfiletype & _REDUCED and (number > 1 or page.subifds):
        raise UserError("begins with a preview, as camera raw files do; those are not read")
    flags = (tiff.pages[index].aspage().subfiletype for index in range(1, number))
    check_single(1 + sum(not kind & _REDUCED or bool(kind & _MASK) for kind in flags))
    check_single(page.imagedepth)
    check_single(_described(page))


def _described(page: "TiffPage") -> int:
    """How many pictures the only directory of a file is said to stand for.

    Microscopes' programs write stacks of which only the first picture has a directory; in an
    OME-TIFF file it may also be that the others lie in files beside it.
    """
    numbers = [1]
    if (text := page.imagej_description) is not None:
        numbers += map(int, re.findall(r"^images=(\d{1,9})", text[:_LONGEST_TEXT], re.M))
    if (text := page.shaped_description) is not None:
        text = text[:_LONGEST_TEXT]
        shape = re.match(r"shape=\(([\d, ]*)\)|.*?\"shape\": *\[([\d, ]*)\]", text)
        sides = re.findall(r"\d{1,9}", (shape[1] or shape[2] or "") if shape else "")
        numbers.append(math.prod(map(int, sides[:16])) // max(1, math.prod(page.shape)))
    if page.is_ome:
        text = page.description[:_LONGEST_TEXT]
        stated = dict(reversed(re.findall(r"\bSize([ZTC])=[\"'](\d{1,9})[\"']", text)))
        depth, times, channels = (int(stated.get(axis, 1)) for axis in "ZTC")
        numbers.append(depth * times * -(-channels // page.samplesperpixel))
    if _UIC_PLANES in page.tags:
        numbers.append(page.tags[_UIC_PLANES].count)
    return max(numbers)


def _check_kind(page: "TiffPage") -> None:
    """Raises a UserError unless the pixels are of a kind that is read exactly."""
    kind, bits = page.photometric, page.bitspersample
    if 262 not in page.tags:
        raise DamagedFile("it does not say what its colours are")
    if kind not in _NAMES or page.tags.valueof(_INK_SET, 1) != 1:
        raise UserError(
            f"its colours are {_named(kind)}; only grey, palette, RGB, YCbCr and CMYK are read"
        )
    if page.sampleformat != _UNSIGNED or bits not in _BITS[kind]:
        numbers = {1: "whole numbers", 2: "signed numbers", 3: "floating-point numbers"}
        raise UserError(
            f"its {_NAMES[kind]} values are {numbers.get(page.sampleformat, 'numbers')} of {bits} "
            f"bits; only whole numbers of {either(_BITS[kind])} bits are read"
        )
    if page.compression not in _COMPRESSIONS:
        raise UserError(f"its compression, {_named(page.compression)}, is not read")
    if page.predictor not in (1, _HORIZONTAL_DIFFERENCES):
        raise UserError(f"its predictor, {_named(page.predictor)}, is for other kinds of values")
    _check_extra(page)
    if kind == _YCBCR and page.compression != _JPEG:
        _check_ycbcr(page)


def _check_extra(page: "TiffPage") -> None:
    extra = page.samplesperpixel - _SAMPLES[page.photometric]
    if extra < 0:
        raise DamagedFile(f"{page.samplesperpixel} channels cannot be {_NAMES[page.photometric]}")
    # Without a word on what it is, a fourth channel of RGB is alpha by custom.
    kinds = page.extrasamples or (_STRAIGHT,) * extra
    if extra > 1 or any(kind not in (_PREMULTIPLIED, _STRAIGHT) for kind in kinds[:extra]):
        raise UserError("has channels besides its colours that are not one of alpha")


def _check_ycbcr(page: "TiffPage") -> None:
    if page.is_subsampled:
        raise UserError("its colours are subsampled; without JPEG compression that is not read")
    coefficients = _fractions(page.tags.valueof(_COEFFICIENTS))
    reference = _fractions(page.tags.valueof(_REFERENCE))
    if not np.allclose(coefficients or (0.299, 0.587, 0.114), (0.299, 0.587, 0.114), atol=1e-3):
        raise UserError(f"its YCbCr has the coefficients {coefficients}; only BT.601's are read")
    if (reference or [0, 255, 128, 255, 128, 255]) != [0, 255, 128, 255, 128, 255]:
        raise UserError(f"its YCbCr has the range {reference}; only the full one is read")


def _fractions(values: tuple[int, ...] | None) -> list[float]:
    """Numerators and denominators in turn, divided."""
    values = values or ()
    return [a / b for a, b in zip(values[::2], values[1::2], strict=True)]


def _named(value: Any) -> str:
    return getattr(value, "name", str(value))


def _profile(page: "TiffPage") -> bytes | None:
    profile = page.tags.valueof(_ICC_PROFILE)
    return profile if isinstance(profile, bytes) else None


def _palette(page: "TiffPage") -> NDArray[Any]:
    """(entries, 3): uint8 if that holds the palette's 16 bits, else uint16."""
    entries = 2**page.bitspersample
    palette = np.asarray(page.tags.valueof(_COLOUR_MAP, ()))
    if palette.size != 3 * entries:
        raise DamagedFile(f"its palette has {palette.size} values instead of {3 * entries}")
    palette = palette.reshape(3, entries).T
    if palette.max() < 256:
        return palette.astype(np.uint8)
    high, low = palette >> 8, palette & 0xFF
    # Writers widen 8 bits to 16 by zeros or by repeating them.
    exact = not low.any() or np.array_equal(low, high)
    return high.astype(np.uint8) if exact else palette.astype(np.uint16)


def _piece(page: "TiffPage") -> tuple[int, int]:
    """Height and width of the strips or tiles, but for those at the edges."""
    sides = page.tilelength, page.tilewidth
    if not page.is_tiled:
        sides = page.rowsperstrip, page.imagewidth
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise DamagedFile("it does not say the size of the pieces of its pixels")
    tall, wide = sides
    if not page.is_tiled:
        tall = min(tall, page.imagelength)
    if tall * wide > 4 * page.imagelength * page.imagewidth + _LARGE_TILE:
        raise DamagedFile(f"its tiles of {wide}×{tall} pixels are larger than the picture")
    return tall, wide


def _check_sides(page: "TiffPage", content: bytes, index: int, tall: int, wide: int) -> None:
    """Raises a UserError if a piece that tells its own size is much larger than the file says."""
    if page.compression == _JPEG:
        height, width = jpeg.sides(content)
    elif page.compression == _WEBP:
        stored = webp.scan(io.BytesIO(content))
        height, width = stored.height, stored.width
    else:
        return
    if height * width > 2 * tall * wide + _LARGE_TILE:
        raise DamagedFile(
            f"piece {index} of its pixels has {width}×{height} of them instead of {wide}×{tall}"
        )


def _samples(page: "TiffPage", file: BinaryIO) -> NDArray[Any]:
    """(H, W, samples), decompressed."""
    planes, _, height, width, depth = page.shaped
    tall, wide = _piece(page)
    number = math.ceil(height / tall) * math.ceil(width / wide) * planes
    if min(len(page.dataoffsets), len(page.databytecounts)) < number:
        raise DamagedFile(f"it has {len(page.dataoffsets)} of {number} pieces of its pixels")
    samples = np.empty((planes, height, width, depth), page.dtype)
    for index in range(number):
        offset, length = page.dataoffsets[index], page.databytecounts[index]
        file.seek(offset)
        content = file.read(length)
        if not content or (len(content) < length and page.compression != _NONE):
            raise DamagedFile(f"piece {index} of its pixels is missing")
        _check_sides(page, content, index, tall, wide)
        piece, (plane, _, top, left, _), _ = page.decode(content, index, jpegtables=page.jpegtables)
        assert piece is not None  # it is only where there is no content
        space = samples[plane, top : top + piece.shape[1], left : left + piece.shape[2]]
        space[...] = piece[0, : space.shape[0], : space.shape[1]]
    return samples[0] if planes == 1 else np.moveaxis(samples[..., 0], 0, -1)


def _decoded(page: "TiffPage", samples: NDArray[Any], palette: NDArray[Any] | None) -> NDArray[Any]:
    """The pixels of grey, or those of RGB, and alpha."""
    number = _SAMPLES[page.photometric]
    if palette is None and page.bitspersample < 8:
        samples = samples.astype(np.uint8) * np.uint8(255 // (2**page.bitspersample - 1))
    colours, alpha = samples[..., :number], samples[..., number:]
    if page.photometric == _WHITE_IS_ZERO:
        colours = ~colours
    elif palette is not None:
        colours = palette[colours[..., 0].astype(np.uint8)]
    elif page.photometric == _CMYK:
        colours = icc.cmyk_to_srgb(_image("CMYK", colours), _profile(page))
    elif page.photometric == _YCBCR and page.compression != _JPEG:
        colours = np.asarray(_image("YCbCr", colours).convert("RGB"))
    if alpha.size and page.extrasamples[:1] == (_PREMULTIPLIED,):
        colours = _divided(colours, alpha)
    return np.concatenate([colours, alpha], axis=2, dtype=colours.dtype)


def _image(mode: str, samples: NDArray[np.uint8]) -> Image.Image:
    height, width, _ = samples.shape
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(samples).tobytes())


def _divided(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Colours that alpha was multiplied into, without it; black where alpha is zero."""
    peak = np.iinfo(colours.dtype).max
    divided = np.empty_like(colours)
    for rows in bands(colours):
        scaled = colours[rows].astype(np.float64) * peak / np.maximum(alpha[rows], 1)
        divided[rows] = np.rint(np.minimum(scaled, peak) * (alpha[rows] > 0))
    return divided
