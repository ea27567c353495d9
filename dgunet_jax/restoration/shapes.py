"""Shapes: padding, tiles, and the few compiled arrays that serve images of many sizes."""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.models.config import DGUNetConfig

Size = tuple[int, int]

# A bucket with at most so many times the pixels is as good as a new one: while there are few
# buckets, and when there are several.
_CLOSE, _FAR = 1.25, 2.0
_FEW = 4  # buckets that may fit exactly; those that come later are rounded up
_WORTH = 2**17  # pixels that are computed while a bucket is compiled
_MOST_SIZES = 200  # among which the best buckets are sought


def pad_to_multiple(
    image: NDArray[np.floating], multiple: int, zeros: bool = False
) -> NDArray[np.floating]:
    """Extends an image (H, W, C) at the bottom and the right until both sides are multiples.

    By reflection without repeating the edge pixel (a b c → a b c b a); a side that is too short for
    that, not longer than what it lacks, is extended by its edge pixel. Or by `zeros`.
    """
    for axis in (0, 1):
        side = image.shape[axis]
        lacking = -side % multiple
        width = [(0, 0)] * image.ndim
        width[axis] = (0, lacking)
        if zeros:
            image = np.pad(image, width)
        else:
            image = np.pad(image, width, mode="reflect" if lacking < side else "edge")
    return image


def can_lie(config: DGUNetConfig) -> bool:
    """Whether the network knows of rows and columns only through its kernels.

    A known operator and a sampling matrix have an orientation of their own.
    """
    return config.degradation != "known"


def transposed(variables: Mapping[str, Any]) -> Any:
    """Variables of the network that does to a transposed picture what the given one does to it.

    With rows and columns exchanged in every kernel, net'(xᵀ) = net(x)ᵀ: transposing commutes with
    everything else the network does. So upright and lying pictures, and all eight versions of the
    self-ensemble, need only one compiled shape.
    """

    def exchange(leaf):
        # (h, w, I, O), with a leading axis where stages have weights of their own.
        return np.swapaxes(np.asarray(leaf), -4, -3) if np.ndim(leaf) >= 4 else leaf

    return jax.tree.map(exchange, variables)


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


def padded(size: Size, rows: int, columns: int) -> Size:
    """Return the next size whose sides are positive multiples of `rows` and of `columns`."""
    height, width = size
    return max(1, -(-height // rows)) * rows, max(1, -(-width // columns)) * columns


def holds(bucket: Size, size: Size) -> bool:
    return bucket[0] >= size[0] and bucket[1] >= size[1]


def pixels(size: Size) -> int:
    return size[0] * size[1]


def choose_bucket(size: Size, known: Iterable[Size], multiples: Size) -> Size:
    """Return the bucket for an image whose followers are not known.

    One of the `known` ones if it is little larger; else one of exactly `size`, or, when there are
    several buckets already, one that will serve other sizes too: with each side rounded up by at
    most a quarter. Heights and widths are `multiples`.
    """
    known = list(known)
    most = (_CLOSE if len(known) < _FEW else _FAR) * pixels(size)
    close = [bucket for bucket in known if holds(bucket, size) and pixels(bucket) <= most]
    if close:
        return min(close, key=pixels)
    if len(known) < _FEW:
        return size
    steps = (
        multiple * 2 ** max(0, math.floor(math.log2(side / (4 * multiple))))
        for side, multiple in zip(size, multiples, strict=True)
    )
    return padded(size, *steps)


def choose_buckets(
    sizes: Mapping[Size, int], most: int, fits: Callable[[Size], bool]
) -> tuple[Size, ...]:
    """Return at most `most` buckets for images of `sizes` (with their counts), wasting few pixels.

    The sizes, in the order of their pixels, are divided into runs, each with the smallest bucket
    that holds all of it. Dynamic programming finds the division with the fewest pixels, where each
    bucket counts as many as could be computed while it is compiled. A run of several sizes whose
    bucket does not `fit` is not made, even if more than `most` buckets remain.
    """
    counts, step = Counter(sizes), 1
    largest = [max(sides) for sides in zip(*sizes, strict=True)]
    while len(counts) > _MOST_SIZES:
        step *= 2
        counts = Counter[Size]()
        for size, count in sizes.items():
            height, width = map(min, padded(size, step, step), largest)
            counts[height, width] += count
    order = sorted(counts, key=lambda size: (pixels(size), size))
    # Of the first n sizes: what the best division into so many runs costs, and its buckets.
    best: list[tuple[float, frozenset[Size]]] = [(0, frozenset())]
    best += [(math.inf, frozenset())] * len(order)
    for runs in itertools.count(1):
        best = [best[0], *(_best(order[:end], counts, best, fits) for end in range(1, len(best)))]
        if runs >= most and best[-1][0] < math.inf:
            return tuple(sorted(best[-1][1], key=lambda bucket: (pixels(bucket), bucket)))
    raise AssertionError


def _best(
    order: Sequence[Size],
    counts: Mapping[Size, int],
    before: Sequence[tuple[float, frozenset[Size]]],
    fits: Callable[[Size], bool],
) -> tuple[float, frozenset[Size]]:
    """Return the best division of sizes that is one of those `before` and at most one run more."""
    best = before[len(order)]
    height = width = images = 0
    for start in range(len(order) - 1, -1, -1):
        size = order[start]
        height, width, images = max(height, size[0]), max(width, size[1]), images + counts[size]
        bucket = height, width
        if images > counts[order[-1]] and not fits(bucket):
            break
        cost, buckets = before[start]
        if (cost := cost + images * pixels(bucket) + _WORTH) < best[0]:
            best = cost, buckets | {bucket}
    return best
