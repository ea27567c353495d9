"""Covering a picture with overlapping tiles, and putting their results together."""

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle of a picture, pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: NDArray) -> NDArray:
        """The rectangle of an image (..., H, W, C), as a view."""
        rows = slice(self.top, self.top + self.height)
        return image[..., rows, self.left : self.left + self.width, :]


def cover(size: tuple[int, int], tile: int, overlap: int, multiple: int = 1) -> tuple[Box, ...]:
    """Boxes of `tile`×`tile` pixels over a picture of `size`, row by row.

    They are spread evenly, at multiples of `multiple` (of which the sides and the tile are
    multiples too), and overlap by about `overlap` or more; along a side that is no longer than a
    tile there is one, of that length.
    """
    rows, columns = (_starts(side, tile, overlap, multiple) for side in size)
    height, width = (min(side, tile) for side in size)
    return tuple(Box(top, left, height, width) for top in rows for left in columns)


def _starts(side: int, tile: int, overlap: int, multiple: int) -> list[int]:
    if side <= tile:
        return [0]
    count = -(-(side - overlap) // (tile - overlap))
    step = (side - tile) / (count - 1) / multiple
    return [round(i * step) * multiple for i in range(count)]


def weights(boxes: tuple[Box, ...]) -> list[NDArray[np.float32]]:
    """For each box what its pixels count, (height, width, 1); at every pixel they add up to 1.

    They fall linearly towards the sides where a box overlaps another, since the pixels there lack
    what is beyond. For boxes that `cover` a picture.
    """
    tops = {box.top: box.height for box in boxes}
    lefts = {box.left: box.width for box in boxes}
    rows, columns = _ramps(tops), _ramps(lefts)
    return [rows[box.top][:, None, None] * columns[box.left][:, None] for box in boxes]


def _ramps(lengths: dict[int, int]) -> dict[int, NDArray[np.float32]]:
    side = max(start + length for start, length in lengths.items())
    ramps, total = {}, np.zeros(side)
    for start, length in lengths.items():
        position = np.arange(length) + 0.5
        ramp = np.full(length, float(length))
        if start > 0:
            ramp = np.minimum(ramp, position)
        if start + length < side:
            ramp = np.minimum(ramp, length - position)
        ramps[start] = ramp
        total[start : start + length] += ramp
    return {
        start: (ramp / total[start : start + len(ramp)]).astype(np.float32)
        for start, ramp in ramps.items()
    }
