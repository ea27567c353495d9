"""What happens to a training pair: crops, flips, rotations and MixUp."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dgunet_jax.system.errors import UserError

DIHEDRAL = 8  # elements of the symmetry group of the square

_SATURATION = 0.2
_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)


def dihedral(image: NDArray[Any], index: int) -> NDArray[Any]:
    """Flips and rotates: element `index` of the symmetry group of the square.

    With r a quarter turn counterclockwise and f the flip of left and right, element
    index = q + 4 m, 0 ≤ q < 4, 0 ≤ m < 2, is r^q f^m: first the flip if m = 1, then q quarter
    turns. Index 0 is the identity.

    Args:
      image: (..., H, W, C); leading dimensions are transformed alike.
      index: 0 to 7.

    Returns:
      A view of `image`; (..., W, H, C) where q is odd.

    Raises:
      UserError: an index outside 0 … 7.
    """
    if not 0 <= index < DIHEDRAL:
        raise UserError(f"index of a flip or rotation is {index}; it must be 0 to {DIHEDRAL - 1}")
    flip, quarter_turns = divmod(index, 4)
    if flip:
        image = image[..., ::-1, :]
    return np.rot90(image, quarter_turns, axes=(-3, -2))


def undo_dihedral(image: NDArray[Any], index: int) -> NDArray[Any]:
    """The inverse of `dihedral`: q quarter turns back, then the flip if m = 1."""
    flip, quarter_turns = divmod(index, 4)
    image = np.rot90(image, -quarter_turns, axes=(-3, -2))
    return image[..., ::-1, :] if flip else image


def draw_dihedral(rng: np.random.Generator) -> int:
    """Draws an index for `dihedral`: identity with probability 2/9, the other seven with 1/9 each.

    This is the distribution the published models were trained with: nine values for eight
    elements.
    """
    return int(rng.integers(DIHEDRAL + 1)) % DIHEDRAL


def draw_flip_transpose(rng: np.random.Generator) -> int:
    """Draws an index for `dihedral`: whether rows are turned over, and whether they then change
    places with columns, each with probability ½, as the published compressive-sensing models were
    trained with."""
    return ((0, 5), (6, 3))[rng.integers(2)][rng.integers(2)]


def unit_range(image: Any) -> Any:
    """Turn 8-bit values into float32 ones in [0, 1]; an array of floating point stays as it is.

    Args:
      image: of NumPy or JAX, any shape.
    """
    return image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image


def pad_to(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Extends an image at the bottom and the right by reflection, where it is smaller.

    The edge pixel is not repeated: a b c → a b c b a b c …, reflecting as often as needed; along
    a side of one pixel, where nothing can be reflected, that pixel is repeated.

    Args:
      image: (H, W, C).
      height: least height of the result, pixels.
      width: least width of the result, pixels.

    Returns:
      (max(H, height), max(W, width), C); `image` itself if it is large enough.
    """
    below, right = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    if below == 0 and right == 0:
        return image
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")


def draw_corner(height: int, width: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draws where a square is cut out of an image; all positions are equally likely.

    Args:
      height, width: of the image, pixels.
      size: side of the square, pixels. An image that is smaller is extended by `pad_to` first.
      rng: what draws.

    Returns:
      (top, left) of the square, pixels.
    """
    top = int(rng.integers(max(height, size) - size + 1))
    left = int(rng.integers(max(width, size) - size + 1))
    return top, left


def cut(image: NDArray[Any], top: int, left: int, size: int) -> NDArray[Any]:
    """Cuts a square out of an image, extended by `pad_to` where it is smaller.

    Args:
      image: (H, W, C).
      top, left: of the square, from `draw_corner`.
      size: side of the square, pixels.

    Returns:
      (size, size, C).
    """
    return pad_to(image, size, size)[top : top + size, left : left + size]


def draw_factor(most: float, rng: np.random.Generator) -> float:
    """Draws a factor whose logarithm is uniform between 0 and log `most`; nothing if that is 1."""
    return 1.0 if most == 1 else math.exp(rng.uniform(0, math.log(most)))


def enlarge(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Enlarges a square of 8 bits by bicubic interpolation.

    Args:
      image: (h, h, 3).
      size: side of the result, at least h.

    Returns:
      (size, size, 3); `image` itself if it is as large.
    """
    if len(image) == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def draw_saturation(rng: np.random.Generator) -> float:
    """Draws a factor for `change_saturation`: in one of three draws 1 + U(−0.2, 0.2), else 1.

    This is the distribution the published deblurring models were trained with.
    """
    return 1.0 if rng.integers(3) else 1 + rng.uniform(-_SATURATION, _SATURATION)


def change_saturation(image: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Blends an image with its luma: f x + (1 − f) y, clamped to [0, 1].

    y = 0.2989 R + 0.587 G + 0.114 B, the same for all channels.

    Args:
      image: RGB (..., 3) in [0, 1].
      factor: f: 0 is grey, 1 changes nothing.

    Returns:
      The shape of `image`; `image` itself for the factor 1.
    """
    if factor == 1:
        return image
    red, green, blue = (image[..., i : i + 1] for i in range(3))
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return (np.float32(factor) * image + np.float32(1 - factor) * luma).clip(0, 1)


_FULL = np.array([0.299, 0.587, 0.114], np.float32)
_STUDIO = np.array([65.481, 128.553, 24.966], np.float32)


def to_luma(image: NDArray[np.float32], studio: bool) -> NDArray[np.float32]:
    """Return the luma of an image, not rounded: (..., 3) to (..., 1), in [0, 1].

    Y = 0.299 R + 0.587 G + 0.114 B or, with `studio`, (16 + 65.481 R + 128.553 G + 24.966 B) / 255.

    Source: ITU-R BT.601.
    """
    weights, black = (_STUDIO, np.float32(16)) if studio else (_FULL * 255, np.float32(0))
    return ((image @ weights + black) / np.float32(255))[..., None]


_CONCENTRATION = 0.6  # both parameters of the Beta distribution, as published for denoising


def draw_mixup(
    batch: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draws with what each image of a batch is mixed, and how much of itself is left.

    Args:
      batch: images of the batch.
      rng: what draws.

    Returns:
      `partners`, a random permutation of the batch, and `weights`, λ ~ Beta(0.6, 0.6) for each
      image: image i becomes λ_i x_i + (1 − λ_i) x_partners[i], and its target likewise.
    """
    partners = rng.permutation(batch)
    weights = rng.beta(_CONCENTRATION, _CONCENTRATION, batch).astype(np.float32)
    return partners, weights


def mix(
    image: NDArray[np.float32], partner: NDArray[np.float32], weight: np.float32
) -> NDArray[np.float32]:
    """λ image + (1 − λ) partner."""
    mixed = weight * image + (1 - weight) * partner
    return mixed.astype(np.float32, copy=False)
