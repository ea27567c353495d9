"""Reading and writing picture files."""

import contextvars
import dataclasses
import io
import logging
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dgunet_jax.images import tiff
from dgunet_jax.images.formats import BEGINNING, READERS, png_chunk, recognise
from dgunet_jax.images.metadata import exif_of_remark, turned_upright, upright, usable_profile
from dgunet_jax.images.picture import Picture, grey, to_uint8
from dgunet_jax.images.stored import Header, NotAPicture, Stored
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import replacing
from dgunet_jax.system.storage import PathLike, as_path

FORMATS = tuple(READERS)
"""The names of the formats that are read."""

ENDINGS = {
    ".bmp": ".bmp",
    ".jpeg": ".jpg",
    ".jpg": ".jpg",
    ".png": ".png",
    ".tif": ".tif",
    ".tiff": ".tif",
    ".webp": ".webp",
    **dict.fromkeys((".avif", ".gif", ".heic", ".heif", ".jxl"), ".png"),
    **dict.fromkeys((".j2c", ".j2k", ".jp2", ".jpx", ".pbm", ".pgm", ".pnm", ".ppm"), ".png"),
}
"""The endings of files that are read, and the ending that each format is written with."""

OTHER_ENDINGS = {
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
    *(".exr", ".hdr", ".jxr", ".pam", ".pfm", ".psd", ".qoi"),
}
"""Endings of picture formats that are not read."""

_STANDARD = 3688  # the sum of the table that Annex K of the standard has for luminance

QUALITY = 95
"""Of JPEG files that are written."""

# What decoders log and warn of is odd about a file that they read all the same.
_silent = contextvars.ContextVar("decoders are silent", default=False)
for _name in ("imagecodecs", "tifffile"):
    logging.getLogger(_name).addFilter(lambda record: not _silent.get())
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.\w+Plugin")


@dataclasses.dataclass(frozen=True)
class Encoded:
    """The bytes of a picture file that lies within something else, and what messages call it."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def read_header(path: PathLike | Encoded) -> Header:
    """Read what a file says about its picture turned upright, without decoding it.

    JPEG XL is decoded all the same: its library offers no other way.

    Raises:
      UserError: as `read` does, for all that can be known without decoding.
    """
    with _opened(path) as stored:
        orientation, _, _ = turned_upright(stored.exif, stored.xmp)
        sides = stored.height, stored.width
        height, width = sides if orientation < 5 else sides[::-1]
        return Header(stored.format, height, width, stored.channels, stored.bits, stored.has_alpha)


def jpeg_quality(path: PathLike) -> float | None:
    """Return the quality of a JPEG file, 1 to 100; None of another format.

    It is the one by which libjpeg would scale its table for luminance to the mean of the file's,
    and too high below 20, where entries of tables end.
    """
    try:
        with as_path(path).open("rb") as file, Image.open(file) as image:
            tables = getattr(image, "quantization", None)
    except (OSError, SyntaxError):  # what other readers read, or none
        return None
    if not tables:
        return None
    scale = 100 * sum(tables[min(tables)]) / _STANDARD
    return max(1, 5000 / scale if scale > 100 else (200 - scale) / 2)


def read(path: PathLike | Encoded) -> Picture:
    """Read a picture at its full depth, and turn it upright.

    The content decides what a file is, not its name. Files of all `FORMATS` are read, in grey, RGB
    or with a palette, with and without transparency, of up to 16 bits per channel. Values of more
    than 8 bits are scaled to all of uint16. CMYK becomes sRGB, through its colour profile if there
    is one. Whatever would not come out exactly is refused: floating point, signed numbers, several
    frames. HEIC needs the package pillow-heif.

    A colour profile or an EXIF block that is damaged is left out, and so is the profile of a JPEG
    XL file, whose colours are taken for sRGB. Damage that leaves a file
    decodable shows only if the format has checksums, as PNG does.

    Raises:
      UserError: the file does not exist, cannot be read, is not a picture, is damaged, or holds
        what is refused, or more than twice `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    with _opened(path) as stored:
        samples = stored.decode()
    expected = (stored.height, stored.width, stored.channels + stored.has_alpha)
    if samples.shape != expected or samples.dtype != f"uint{stored.bits}":
        raise UserError(f"{path}: is damaged: it decodes to {samples.dtype} {samples.shape}")
    orientation, exif, xmp = turned_upright(stored.exif, stored.xmp)
    samples = upright(samples, orientation)
    return Picture(
        pixels=samples[..., : stored.channels].copy(),
        alpha=samples[..., -1].copy() if stored.has_alpha else None,
        icc_profile=usable_profile(stored.icc_profile, stored.channels),
        exif=exif,
        xmp=xmp,
        file_format=stored.format,
        colour_chunks=stored.colour_chunks,
    )


def read_rgb(path: PathLike | Encoded) -> NDArray[np.uint8]:
    """Read a picture as 8-bit RGB, as training data is.

    Grey is repeated three times; an alpha channel that is opaque everywhere is dropped; colour
    profiles are ignored.

    Returns:
      uint8 (H, W, 3), values in [0, 255].

    Raises:
      UserError: as `read` does; or the picture has more than 8 bits per channel or transparent
        pixels.
    """
    picture = read(path)
    if picture.bits > 8:
        raise UserError(f"{path}: more than 8 bits per channel; only 8-bit pictures are read")
    _check_opaque(path, picture)
    pixels = picture.pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def read_image(path: PathLike | Encoded, channels: int) -> NDArray[np.float32]:
    """Read a picture at its full depth as the image of a network, (H, W, channels) in [0, 1].

    Args:
      path: the file.
      channels: 3 for RGB, as `Picture.colours` returns it; 1 for full-range luma.

    Raises:
      UserError: as `read` does; or the picture has transparent pixels.
    """
    picture = read(path)
    _check_opaque(path, picture)
    return (grey(picture) if channels == 1 else picture).colours()[..., :channels]


def _check_opaque(path: PathLike | Encoded, picture: Picture) -> None:
    if picture.alpha is not None and picture.alpha.min() < 2**picture.bits - 1:
        raise UserError(f"{path}: has transparent pixels; flatten it onto a background first")


def must_be_read(path: Path, why: UserError) -> bool:
    """Return whether a file that is not read is a picture, by its content or its ending.

    Args:
      path: the file.
      why: what `read_header` raised.
    """
    return not isinstance(why, NotAPicture) or path.suffix.lower() in OTHER_ENDINGS


@contextmanager
def _opened(path: PathLike | Encoded) -> Iterator[Stored]:
    """Yield the file's picture while the file is open; every failure becomes a UserError."""
    token = _silent.set(True)
    try:
        with _file(path) as file:
            yield _scan(file)
    except NotAPicture as error:
        raise NotAPicture(f"{path}: {error}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from error.__cause__
    except FileNotFoundError:
        raise NotAPicture(f"{path}: no such file") from None
    except MemoryError as error:
        raise UserError(f"{path}: is too large a picture for this machine's memory") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, struct.error) as error:
        # Not one of a decoder's own checks: it stumbled over values that cannot be.
        raise UserError(f"{path}: is damaged: its header makes no sense") from error
    except Exception as error:  # decoders raise errors of any type on a damaged file
        raise UserError(f"{path}: cannot read the picture: {reason(error)}") from error
    finally:
        _silent.reset(token)


def _file(path: PathLike | Encoded) -> BinaryIO:
    if isinstance(path, Encoded):
        return io.BytesIO(path.content)
    path = as_path(path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise UserError("is a directory, not a picture")
    if not stat.S_ISREG(mode):
        raise NotAPicture("is not a file that holds a picture")  # opening a pipe may wait forever
    return path.open("rb")


def _scan(file: BinaryIO) -> Stored:
    start = file.read(BEGINNING)
    if not start:
        raise NotAPicture("is damaged: it is empty")
    name = recognise(start)
    formats = f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
    if name is None:
        raise NotAPicture(f"not a picture, or damaged (formats read: {formats})")
    if name not in READERS:
        raise UserError(f"is {name}; only {formats} files are read")
    file.seek(0)
    return READERS[name](file)


def write(path: PathLike, picture: Picture | ArrayLike) -> None:
    """Write a picture in the format of the file's ending, creating the directories above it.

    The file appears under its name only when it is complete; an existing one is replaced. JPEG is
    of quality 95 with colours at full resolution; all other formats are lossless. The colour
    profile, EXIF and XMP are written if the format has a place for them (not in BMP), what a PNG
    file says of its colours in other ways to PNG files alone.

    Args:
      path: ending in .png, .tif, .tiff, .jpg, .jpeg, .webp or .bmp.
      picture: what the format can hold, see `check_writable`; or an image as `restore` returns it,
        (H, W, 3), (H, W, 1) or (H, W), floating point, which is rounded to 8 bits (`to_uint8`).

    Raises:
      UserError: the format cannot hold the picture, the file cannot be written, or an array is not
        such an image.
    """
    path = as_path(path)
    try:
        content = encode(path.suffix, picture if isinstance(picture, Picture) else _of(picture))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error.__cause__
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error
    with replacing(path) as file:
        file.write(content)


def _of(image: ArrayLike) -> Picture:
    pixels = to_uint8(image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise UserError(f"an image to write is (H, W), (H, W, 1) or (H, W, 3), not {pixels.shape}")
    return Picture(pixels)


def encode(suffix: str, picture: Picture) -> bytes:
    """Return the content of the file that `write` writes.

    Args:
      suffix: such as ".png", in capitals or not.
      picture: what the format can hold.

    Raises:
      UserError: the format cannot hold the picture.
    """
    check_writable(suffix, picture)
    form = _WRITTEN[suffix.lower()]
    if picture.remark and picture.exif is None and form.name != "PNG":
        picture = dataclasses.replace(picture, exif=exif_of_remark(picture.remark))
    return form.encode(picture)


def check_writable(suffix: str, picture: Picture) -> None:
    """Raise a UserError if the format of a file ending cannot hold all of a picture.

    Args:
      suffix: such as ".png", in capitals or not.
      picture: what is to be written.
    """
    form = _WRITTEN.get(suffix.lower())
    if form is None:
        raise UserError(f"pictures are written as {', '.join(_WRITTEN)}; not as {suffix!r}")
    if picture.bits > form.bits:
        raise UserError(
            f"{form.name} files hold {form.bits} bits per channel, the picture has {picture.bits}"
        )
    if picture.alpha is not None and not form.holds_alpha:
        raise UserError(f"{form.name} files hold no transparency, the picture does")
    if max(picture.pixels.shape) > form.largest_side:
        height, width, _ = picture.pixels.shape
        raise UserError(
            f"{form.name} files reach to {form.largest_side} pixels, not {width}×{height}"
        )
    for name, block, most in (
        ("EXIF", picture.exif or b"", form.longest_exif),
        ("XMP", picture.xmp or b"", form.longest_xmp),
    ):
        if len(block) > most:
            raise UserError(
                f"{form.name} files hold {most} bytes of {name}, the picture has {len(block)}"
            )


def _png(picture: Picture) -> bytes:
    import imagecodecs

    # A copy: of an axis of length one NumPy allows any stride, and imagecodecs does not.
    content = bytes(imagecodecs.png_encode(np.array(picture.samples(), order="C")))
    extra = [*picture.colour_chunks]
    if picture.icc_profile:
        extra.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc_profile)))
    if picture.exif:
        extra.append((b"eXIf", picture.exif))
    if picture.xmp:
        extra.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + picture.xmp))
    if picture.remark:
        extra.append((b"tEXt", b"Comment\0" + picture.remark.encode("ascii")))
    start = 33  # behind the signature and the header
    return b"".join([content[:start], *(png_chunk(*each) for each in extra), content[start:]])


def _jpeg(picture: Picture) -> bytes:
    return _saved(picture, "JPEG", exif_prefix=b"Exif\0\0", quality=QUALITY, subsampling=0)


def _webp(picture: Picture) -> bytes:
    # The format has no grey, so a profile of grey does not fit. "exact" keeps the colours that are
    # transparent.
    pixels = np.broadcast_to(picture.pixels, (*picture.pixels.shape[:2], 3))
    profile = usable_profile(picture.icc_profile, 3)
    picture = dataclasses.replace(picture, pixels=pixels, icc_profile=profile)
    return _saved(picture, "WEBP", lossless=True, exact=True)


def _bmp(picture: Picture) -> bytes:
    return _saved(Picture(picture.pixels), "BMP")


def _saved(picture: Picture, form: str, exif_prefix: bytes = b"", **options: Any) -> bytes:
    """Return what Pillow writes."""
    for name in ("icc_profile", "exif", "xmp"):
        if content := getattr(picture, name):
            options[name] = exif_prefix + content if name == "exif" else content
    samples = np.ascontiguousarray(picture.samples())
    file = io.BytesIO()
    Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(
        file, form, **options
    )
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class _Written:
    """A format that is written, and what it can hold."""

    name: str
    encode: Callable[[Picture], bytes]
    bits: int = 8
    holds_alpha: bool = False
    largest_side: int = (1 << 31) - 1
    longest_exif: int = (1 << 31) - 1
    longest_xmp: int = (1 << 31) - 1


_PNG = _Written("PNG", _png, bits=16, holds_alpha=True)
_TIFF = _Written("TIFF", tiff.encode, bits=16, holds_alpha=True)
# libjpeg's largest side; a segment's length is 16 bits, of which EXIF and XMP leave the rest.
_JPEG = _Written("JPEG", _jpeg, largest_side=65_500, longest_exif=65_527, longest_xmp=65_504)
_WRITTEN = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _Written("WebP", _webp, holds_alpha=True, largest_side=16_383),
    ".bmp": _Written("BMP", _bmp),
}
