"""Random crops, flips and rotations; everything takes the images of a pair together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dgunet_jax.errors import UserError

DIHEDRAL = 8  # elements of the symmetry group of the square


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


def random_crop(
    images: Sequence[NDArray[Any]], size: int, rng: np.random.Generator
) -> tuple[NDArray[Any], ...]:
    """Cuts the same square out of every image; all positions are equally likely.

    Images smaller than the square are first extended by `pad_to`.

    Args:
      images: (H, W, C) each, all of the same H and W.
      size: side of the square, pixels.
      rng: what draws the position.

    Returns:
      One (size, size, C) view for each image.

    Raises:
      UserError: the images differ in height or width.
    """
    sizes = {image.shape[:2] for image in images}
    if len(sizes) != 1:
        listed = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise UserError(f"images to crop together must have one size; got {listed or 'no image'}")
    padded = [pad_to(image, size, size) for image in images]
    height, width = padded[0].shape[:2]
    top = int(rng.integers(height - size + 1))
    left = int(rng.integers(width - size + 1))
    return tuple(image[top : top + size, left : left + size] for image in padded)
