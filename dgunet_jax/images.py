"""Decoding and encoding of picture files: 8 bits per channel, RGB."""

import os
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from dgunet_jax.errors import UserError

# Named one by one: some of Pillow's other decoders start programs or scale deep pictures to 8 bits.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_PNG_HEADER = 25  # bytes up to and including the bit depth, which is the last of them


def read_rgb(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Reads a picture as RGB.

    Grey and palette pictures become RGB, the EXIF orientation is applied, an alpha channel that is
    opaque everywhere is dropped. Colour profiles are ignored. Damage that leaves a file decodable
    shows only where the format has checksums, which is PNG.

    Args:
      path: a BMP, GIF, JPEG, PNG, TIFF or WebP file holding one picture.

    Returns:
      uint8 (H, W, 3), values in [0, 255].

    Raises:
      UserError: there is no such file, or it cannot be read, or it is damaged; or the picture has
        more than 8 bits per channel, transparent pixels, several frames, other colours than grey
        or RGB (CMYK), or too many pixels (Pillow's limit, `PIL.Image.MAX_IMAGE_PIXELS`, twice).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            header = file.read(_PNG_HEADER)
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as picture:
                _check_readable(picture, header)
                return np.array(_opaque(ImageOps.exif_transpose(picture)).convert("RGB"))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a picture") from None
    except UnidentifiedImageError:
        formats = ", ".join(_FORMATS)
        raise UserError(f"{path}: not a picture, or damaged (formats read: {formats})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: too large a picture: {_one_line(error)}") from error
    except Exception as error:  # decoders raise errors of any type on a damaged file
        raise UserError(f"{path}: cannot read the picture: {_one_line(error)}") from error


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Writes an RGB picture as PNG, creating the folders above it.

    The file appears under its name only when it is complete; an existing one is replaced.

    Args:
      path: the file, ending in .png.
      image: uint8 (H, W, 3), values in [0, 255].

    Raises:
      UserError: another ending, another dtype or shape, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: the name of a PNG file must end in .png")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise UserError(
            f"{path}: a picture to write must be uint8 (H, W, 3); got {image.dtype} {image.shape}"
        )
    # Beside the file, so that replacing it stays within one file system.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                Image.fromarray(image).save(file, format="PNG")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or _one_line(error)}") from error


def to_uint8(image: ArrayLike) -> NDArray[np.uint8]:
    """Rounds an image to 8 bits: clamp to [0, 1], times 255, to the nearest integer, ties to even.

    Args:
      image: floating point, any shape, nominally in [0, 1].

    Returns:
      uint8 of the same shape, values in [0, 255].

    Raises:
      UserError: a value is NaN or infinite, or the image is not floating point.
    """
    image = np.asarray(image)
    if image.dtype.kind in "?biuc":
        raise UserError(f"an image to round must be floating point in [0, 1]; got {image.dtype}")
    # In float64 the product of a float32 value and 255 is exact, so only true ties are ties.
    exact = image.astype(np.float64)
    if not np.isfinite(exact).all():
        bad = np.count_nonzero(~np.isfinite(exact))
        raise UserError(f"an image to round has {bad} values that are NaN or infinite")
    return np.rint(exact.clip(0, 1) * 255).astype(np.uint8)


def _check_readable(picture: Image.Image, header: bytes) -> None:
    """Raises a UserError if converting the picture to 8-bit RGB would lose something."""
    depth = 8
    if picture.format == "PNG":
        depth = header[-1]
    elif isinstance(picture, TiffImageFile):
        depth = int(np.max(picture.tag_v2.get(BITSPERSAMPLE, 1)))
    if depth > 8 or picture.mode in _DEEP_MODES:
        raise UserError("more than 8 bits per channel; only 8-bit pictures are read")
    if picture.mode not in _MODES:
        raise UserError(f"its colours are {picture.mode}; only grey, palette and RGB are read")
    # An MPO file is a camera's JPEG with previews behind the picture.
    frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if frames > 1:
        raise UserError(f"holds {frames} frames; only single pictures are read")


def _opaque(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    if np.asarray(picture.getchannel("A")).min() < 255:
        raise UserError("has transparent pixels; flatten it onto a background first")
    return picture


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
