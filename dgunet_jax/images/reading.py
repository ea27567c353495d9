"""Reading picture files of every format, whatever they are called."""

import dataclasses
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.images import bmp, exif, gif, icc, jpeg, png, recognising, tiff_reading, webp
from dgunet_jax.images.metered import Content, MeteredFile
from dgunet_jax.images.picture import Picture
from dgunet_jax.images.quiet import quietly
from dgunet_jax.images.stored import NotAPicture, StoredPicture
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import PathLike

_SCANNERS: dict[bytes, Callable[[BinaryIO], StoredPicture]] = {
    png.SIGNATURE: png.scan,
    b"\xff\xd8\xff": jpeg.scan,
    b"II*\0": tiff_reading.scan,
    b"MM\0*": tiff_reading.scan,
    b"II+\0": tiff_reading.scan,
    b"MM\0+": tiff_reading.scan,
    b"GIF87a": gif.scan,
    b"GIF89a": gif.scan,
    b"BM": bmp.scan,
}


@dataclasses.dataclass(frozen=True)
class Encoded:
    """The bytes of a picture file that lies within something else, and what messages call it."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Header:
    """What a picture will be when it is read.

    Attributes:
      format: PNG, JPEG, WEBP, BMP, TIFF or GIF.
      height, width: of the upright picture.
      channels: 1 for grey, 3 for colours; alpha does not count.
      bits: per channel, 8 or 16.
      has_alpha: whether there is an alpha channel.
    """

    format: str
    height: int
    width: int
    channels: int
    bits: int
    has_alpha: bool


def read_header(path: PathLike | Encoded) -> Header:
    """Reads what a file says about its picture, without decoding it.

    Raises:
      UserError: as `read` does, for all that can be known without decoding.
    """
    with _scanned(path) as stored:
        orientation, _ = exif.turned_upright(stored.exif or b"", stored.xmp or b"")
        sides = stored.height, stored.width
        height, width = sides if orientation < 5 else sides[::-1]
        return Header(
            stored.file_format, height, width, stored.channels, stored.bits, stored.has_alpha
        )


def read(path: PathLike | Encoded) -> Picture:
    """Reads a picture at its full depth, and turns it upright.

    The content decides what a file is, not its name. Read are PNG, JPEG (cameras' MPO included),
    WebP, BMP and TIFF files and GIF files of one frame, in grey, RGB or with a palette, with and
    without transparency, of up to 8 bits per channel or, PNG and TIFF, 16. CMYK becomes sRGB,
    through its colour profile if there is one. Whatever would not come out exactly is refused.

    A colour profile or an EXIF block that is none is left out. Damage that leaves a file decodable
    shows only where the format has checksums, as PNG does.

    Raises:
      UserError: there is no such file, or it cannot be read, is no picture, is damaged or
        truncated, holds several frames, values that are neither 8 nor 16 bits (floating point, 12
        bits), colours of another kind, or more than twice `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    with _scanned(path) as stored:
        samples = stored.decode()
    expected = (stored.height, stored.width, stored.channels + stored.has_alpha)
    if samples.shape != expected or samples.dtype != f"uint{stored.bits}":
        raise UserError(f"{path}: is damaged: it decodes to {samples.dtype} {samples.shape}")
    orientation, exif_block = exif.turned_upright(stored.exif or b"", stored.xmp or b"")
    samples = exif.upright(samples, orientation)
    return Picture(
        pixels=samples[..., : stored.channels].copy(),
        alpha=samples[..., -1].copy() if stored.has_alpha else None,
        icc_profile=icc.usable(stored.icc_profile, stored.channels),
        exif=exif_block,
        file_format=stored.file_format,
        colour_chunks=stored.colour_chunks,
    )


def read_rgb(path: PathLike | Encoded) -> NDArray[np.uint8]:
    """Reads a picture as 8-bit RGB, as training data is.

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
    if picture.alpha is not None and picture.alpha.min() < 255:
        raise UserError(f"{path}: has transparent pixels; flatten it onto a background first")
    pixels = picture.pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


@contextmanager
def _scanned(path: PathLike | Encoded) -> Iterator[StoredPicture]:
    """The file's picture, as long as the file is open; every failure becomes a UserError."""
    try:
        with _opened(path) as file, quietly():
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
        raise UserError(f"{path}: is damaged: what it says is impossible") from error
    except Exception as error:  # decoders raise errors of any type on a damaged file
        raise UserError(f"{path}: cannot read the picture: {reason(error)}") from error


def _opened(path: PathLike | Encoded) -> MeteredFile:
    if isinstance(path, Encoded):
        return MeteredFile(Content(path.content))
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise UserError("is a folder, not a picture")
    if not stat.S_ISREG(mode):
        raise NotAPicture("is not a file that holds a picture")  # opening a pipe may wait forever
    return MeteredFile(Path(path).open("rb", buffering=0))


def _scan(file: BinaryIO) -> StoredPicture:
    start = file.read(recognising.BEGINNING)
    if not start:
        raise NotAPicture("is damaged: it is empty")
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return webp.scan(file)
    for signature, scan in _SCANNERS.items():
        if start.startswith(signature):
            return scan(file)
    raise recognising.refusal(start)
