"""Which part of a picture is analysed."""

from dgunet_jax.analysis.attribution import Patch
from dgunet_jax.system.errors import UserError

_PATCH = 16  # pixels, side of the patch that is explained if none is named


def region(
    height: int, width: int, side: int, multiple: int, around: Patch | None, option: str = "size"
) -> Patch:
    """The part of an image that a network can take whole and that is at most so large.

    Args:
      height, width: of the image.
      side: the largest height and width, pixels.
      multiple: height and width must be multiples of it.
      around: what must lie in it, as near to its centre as possible; None: the image's centre.
      option: what the side is called where it is too small.

    Raises:
      UserError: the image is smaller than the multiple, or the patch too large or not within the
        image.
    """
    if min(height, width) < multiple:
        raise UserError(f"{width}×{height} pixels: must be at least {multiple}×{multiple}")
    if side < multiple:
        raise UserError(f"{option} {side}: must be at least {multiple} pixels")
    found_height, found_width = (min(side, n) // multiple * multiple for n in (height, width))
    if around is None:
        row, column = (height - 1) / 2, (width - 1) / 2
    else:
        around.check(height, width)
        if around.width > found_width or around.height > found_height:
            raise UserError(
                f"{around}: must be at most {found_width}×{found_height} pixels large, as {option}"
                f" {side} allows"
            )
        row, column = around.centre
    y = _place(row, found_height, height, around and (around.y, around.height))
    x = _place(column, found_width, width, around and (around.x, around.width))
    return Patch(x, y, found_width, found_height)


def central_patch(height: int, width: int) -> Patch:
    """A patch of 16×16 pixels, or fewer, in the middle of an image."""
    sides = min(_PATCH, width), min(_PATCH, height)
    return Patch((width - sides[0]) // 2, (height - sides[1]) // 2, *sides)


def within(patch: Patch, outer: Patch) -> Patch:
    """The patch in the coordinates of a region that it lies in."""
    return patch._replace(x=patch.x - outer.x, y=patch.y - outer.y)


def _place(centre: float, size: int, available: int, held: tuple[int, int] | None) -> int:
    """Where a piece of a side begins that is centred if that is possible, and holds a part."""
    begin = round(centre - (size - 1) / 2)
    if held is not None:
        begin = min(max(begin, held[0] + held[1] - size), held[0])
    return min(max(begin, 0), available - size)
