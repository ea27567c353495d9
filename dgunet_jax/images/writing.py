"""Writing picture files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dgunet_jax.images import bmp, exif, jpeg, png, tiff_writing, webp
from dgunet_jax.images.picture import Picture
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.files import PathLike, replacing


@dataclasses.dataclass(frozen=True)
class _Format:
    name: str
    encode: Callable[[Picture], bytes]
    holds_16_bits: bool = False
    holds_alpha: bool = False
    largest_side: int = (1 << 31) - 1
    longest_exif: int = (1 << 31) - 1


_PNG = _Format("PNG", png.encode, holds_16_bits=True, holds_alpha=True)
_TIFF = _Format("TIFF", tiff_writing.encode, holds_16_bits=True, holds_alpha=True)
_JPEG = _Format("JPEG", jpeg.encode, largest_side=jpeg.LARGEST_SIDE, longest_exif=jpeg.LONGEST_EXIF)
_FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _Format("WebP", webp.encode, holds_alpha=True, largest_side=webp.LARGEST_SIDE),
    ".bmp": _Format("BMP", bmp.encode),
}


def write(path: PathLike, picture: Picture) -> None:
    """Writes a picture in the format of the file's ending, creating the folders above it.

    The file appears under its name only when it is complete; an existing one is replaced. JPEG is
    of quality 95 with colours at full resolution; all other formats are lossless. The colour
    profile and the EXIF block are written where the format has a place for them (not in BMP),
    what a PNG file says of its colours in other ways to PNG files alone.

    Args:
      path: ending in .png, .tif, .tiff, .jpg, .jpeg, .webp or .bmp.
      picture: what the format can hold, see `check_writable`.

    Raises:
      UserError: the format cannot hold the picture, or the file cannot be written.
    """
    path = Path(path)
    try:
        check_writable(path.suffix, picture)
        form = _FORMATS[path.suffix.lower()]
        if picture.remark and picture.exif is None and form is not _PNG:
            picture = dataclasses.replace(picture, exif=exif.of_remark(picture.remark))
        content = form.encode(picture)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error.__cause__
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error
    with replacing(path) as file:
        file.write(content)


def check_writable(suffix: str, picture: Picture) -> None:
    """Raises a UserError if the format of a file ending cannot hold all of a picture's pixels.

    Args:
      suffix: such as ".png", in capitals or not.
      picture: what is to be written.
    """
    form = _FORMATS.get(suffix.lower())
    if form is None:
        raise UserError(f"pictures are written as {', '.join(_FORMATS)}; not as {suffix!r}")
    name, block = form.name, picture.exif or b""
    if picture.bits > 8 and not form.holds_16_bits:
        raise UserError(f"{name} files hold 8 bits per channel, the picture has {picture.bits}")
    if picture.alpha is not None and not form.holds_alpha:
        raise UserError(f"{name} files hold no transparency, the picture does")
    if max(picture.pixels.shape) > form.largest_side:
        height, width, _ = picture.pixels.shape
        raise UserError(f"{name} files reach to {form.largest_side} pixels, not {width}×{height}")
    if len(block) > form.longest_exif:
        raise UserError(
            f"{name} files hold {form.longest_exif} bytes of EXIF, the picture has {len(block)}"
        )
