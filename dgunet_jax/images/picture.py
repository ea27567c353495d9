"""A decoded picture, with what its file says beside the pixels."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from dgunet_jax.system.errors import UserError

_BAND = 1 << 20  # values
# 0.299, 0.587 and 0.114 in units of 2⁻¹⁴: integers, so that every machine rounds alike.
_WEIGHTS = (4899, 9617, 1868)
_SHIFT = 14


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One picture, upright.

    Attributes:
      pixels: uint8 or uint16 (H, W, 1) grey or (H, W, 3) RGB; all values of the type are used.
      alpha: (H, W) of the same type, not multiplied into the pixels: 0 is transparent, the largest
        value opaque. None if there is none.
      icc_profile: the colour profile of `pixels`.
      exif: an EXIF block, beginning with its TIFF header ("II" or "MM"). Its orientation, if any,
        is 1, and it has no thumbnail.
      xmp: an XMP packet, whose orientation, if any, is 1.
      file_format: what it was read from, such as PNG; see `io.FORMATS`.
      colour_chunks: names and contents of what a PNG file says of its colours without a profile
        (gAMA, cHRM, sRGB, cICP); only PNG files have a place for it.
      remark: what to say in the file of how the pixels were made, in ASCII. PNG files have a place
        for it, and others but BMP if there is no EXIF block. It is not read.

    Raises:
      ValueError: the arrays are anything else.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    file_format: str = "PNG"
    colour_chunks: tuple[tuple[bytes, bytes], ...] = ()
    remark: str | None = None

    def __post_init__(self) -> None:
        dtype, shape = self.pixels.dtype, self.pixels.shape
        if dtype not in (np.uint8, np.uint16) or len(shape) != 3 or shape[2] not in (1, 3):
            raise ValueError(
                f"a picture is uint8 or uint16 (H, W, 1) or (H, W, 3); got {dtype} {shape}"
            )
        if self.pixels.size == 0:
            raise ValueError(f"a picture has pixels; got {dtype} {shape}")
        alpha = self.alpha
        if alpha is not None and (alpha.dtype != dtype or alpha.shape != shape[:2]):
            raise ValueError(
                f"the alpha of a {dtype} {shape} picture is {dtype} {shape[:2]}; "
                f"got {alpha.dtype} {alpha.shape}"
            )

    @property
    def bits(self) -> int:
        """Bits per channel, 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    def samples(self) -> NDArray[Any]:
        """Return the pixels with alpha, if any, as the last channel: (H, W, channels)."""
        if self.alpha is None:
            return self.pixels
        return np.concatenate([self.pixels, self.alpha[..., None]], axis=2)

    def colours(self) -> NDArray[np.float32]:
        """Return RGB (H, W, 3) in [0, 1]; grey is repeated three times."""
        colours = self.pixels.astype(np.float32)
        colours /= np.float32(2**self.bits - 1)
        return np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours

    def with_colours(self, colours: ArrayLike) -> "Picture":
        """Return this picture with other colours, of the same depth, and grey if it is grey.

        Values are clamped to [0, 1], scaled and rounded to the nearest integer, ties to even. Grey
        is the mean of the three channels.

        Args:
          colours: floating point (H, W, 3).

        Raises:
          UserError: a value is NaN or infinite, or the colours are not floating point.
          ValueError: they have another shape.
        """
        values = np.asarray(colours)
        height, width, channels = self.pixels.shape
        if values.shape != (height, width, 3):
            raise ValueError(f"colours must be {(height, width, 3)}; got {values.shape}")
        _check_finite(values)
        pixels = np.empty_like(self.pixels)
        for rows in bands(values):
            band = values[rows]
            if channels == 1:
                band = band.mean(axis=2, dtype=np.float64, keepdims=True)
            pixels[rows] = _rounded(band, 2**self.bits - 1)
        return dataclasses.replace(self, pixels=pixels)


def to_uint8(image: ArrayLike) -> NDArray[np.uint8]:
    """Round an image to 8 bits: clamp to [0, 1], times 255, to the nearest integer, ties to even.

    Args:
      image: floating point, any shape, nominally in [0, 1].

    Returns:
      uint8 of the same shape, values in [0, 255].

    Raises:
      UserError: a value is NaN or infinite, or the image is not floating point.
    """
    values = np.asarray(image)
    _check_finite(values)
    rounded = np.empty(values.shape, np.uint8)
    for rows in bands(np.atleast_1d(values)):
        np.atleast_1d(rounded)[rows] = _rounded(np.atleast_1d(values)[rows], 255)
    return rounded


def _check_finite(image: NDArray[Any]) -> None:
    if image.dtype.kind in "?biuc":
        raise UserError(f"an image to round must be floating point in [0, 1]; got {image.dtype}")
    bad = image.size - np.count_nonzero(np.isfinite(image))
    if bad:
        raise UserError(f"an image to round has {bad} values that are NaN or infinite")


def _rounded(image: NDArray[Any], peak: int) -> NDArray[np.float64]:
    # In float64 the product of a float32 value and the peak is exact, so only true ties are ties.
    return np.rint(image.astype(np.float64).clip(0, 1) * peak)


def bands(array: NDArray[Any]) -> Iterator[slice]:
    """Yield slices that divide the first axis of an array into bands of about 2²⁰ values."""
    rows = max(1, _BAND // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)


def luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return full-range luma Y = 0.299 R + 0.587 G + 0.114 B, rounded, half up.

    Args:
      pixels: uint8 or uint16 (H, W, 3).

    Returns:
      (H, W, 1) of the same type.

    Source: ITU-R BT.601; with these integer weights as OpenCV computes the Y of YCrCb.
    """
    brightness = np.empty((*pixels.shape[:2], 1), pixels.dtype)
    for rows in bands(pixels):
        wide = pixels[rows].astype(np.int64) @ np.array(_WEIGHTS)
        brightness[rows, :, 0] = (wide + (1 << (_SHIFT - 1))) >> _SHIFT
    return brightness


def grey(picture: Picture) -> Picture:
    """Return the luma of a picture, without its alpha and what describes its colours."""
    if picture.pixels.shape[2] == 1:
        return dataclasses.replace(picture, alpha=None)
    return dataclasses.replace(
        picture, pixels=luma(picture.pixels), alpha=None, icc_profile=None, colour_chunks=()
    )


def captioned(image: NDArray[Any], text: str) -> NDArray[Any]:
    """Return an image below a white band with a line of text.

    Args:
      image: uint8 or uint16 (H, W, C).
      text: in black; what is too long for W is cut off.

    Returns:
      (H + band, W, C); the band is 20 pixels high, or a fortieth of H if that is more.
    """
    height, width, channels = image.shape
    band = max(20, height // 40)
    drawn = Image.new("L", (width, band), 255)
    font = ImageFont.load_default(0.7 * band)
    ImageDraw.Draw(drawn).text((band // 5, band // 2), text, 0, font, anchor="lm")
    values = np.asarray(drawn).astype(image.dtype) * (np.iinfo(image.dtype).max // 255)
    return np.concatenate([np.repeat(values[..., None], channels, axis=2), image])


def side_by_side(images: Iterable[NDArray[Any]], gap: int) -> NDArray[Any]:
    """Return images of one height in a row, with white between them.

    Args:
      images: (H, W, C) of one type, at least one; W may differ. Floating-point values are in
        [0, 1]; of integers all values are used.
      gap: columns of white between two of them, pixels.

    Returns:
      (H, ΣW + gap · (number of images − 1), C).
    """
    first, *others = images
    peak = 1 if first.dtype.kind == "f" else np.iinfo(first.dtype).max
    white = np.full((first.shape[0], gap, first.shape[2]), peak, first.dtype)
    return np.concatenate([first, *(part for image in others for part in (white, image))], axis=1)
