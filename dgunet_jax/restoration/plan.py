"""What is decided about a picture before it is restored: pure functions of sizes.

Sizes are (height, width) in pixels. A picture is padded to a size the network takes and put into
the top left corner of a *bucket*, one of a few array shapes that are compiled.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from dgunet_jax.restoration.tiles import Box

Size = tuple[int, int]

# A bucket that has at most so many times the pixels is as good as a new one: while there are few
# buckets, and when there are several.
_CLOSE, _FAR = 1.25, 2.0
_WORTH = 2**17  # pixels: a compilation takes longer than to compute so many
_FEW = 4  # buckets that may fit exactly; those that come later are rounded up
_MERGED = 48  # sizes among which the best buckets are sought pair by pair


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a picture is restored.

    Attributes:
      pad: rows and columns added at the bottom and the right.
      bucket: size of the compiled arrays.
      transposed: whether the picture lies in them on its side (see `orientation.transposed`); with
        the self-ensemble four of the eight versions lie the other way.
      tiles: what is restored at a time, boxes of the padded picture; a single one is all of it, and
        exact.
      bytes: estimated memory on each device while a tile is restored.
      held: estimated memory the picture takes beside that, from when it is read until it is
        written.
    """

    pad: Size
    bucket: Size
    transposed: bool
    tiles: tuple[Box, ...]
    bytes: int
    held: int


def padded(size: Size, rows: int, columns: int) -> Size:
    """The next size whose height and width are positive multiples of `rows` and `columns`."""
    height, width = size
    return max(1, -(-height // rows)) * rows, max(1, -(-width // columns)) * columns


def holds(bucket: Size, size: Size) -> bool:
    return bucket[0] >= size[0] and bucket[1] >= size[1]


def pixels(size: Size) -> int:
    return size[0] * size[1]


def choose_bucket(size: Size, known: Iterable[Size], multiples: Size) -> Size:
    """The bucket for a picture whose followers are not known.

    One of the `known` ones if it is little larger; else one of exactly `size`, or, when there are
    several buckets already, one that will serve other sizes too: with each side rounded up by at
    most a quarter. Heights and widths are `multiples`.
    """
    known = list(known)
    few = len(known) < _FEW
    most = (_CLOSE if few else _FAR) * pixels(size)
    close = [bucket for bucket in known if holds(bucket, size) and pixels(bucket) <= most]
    if close:
        return min(close, key=pixels)
    if few:
        return size
    height, width = (_rounded(side, m) for side, m in zip(size, multiples, strict=True))
    return height, width


def _rounded(side: int, multiple: int) -> int:
    step = multiple * 2 ** max(0, math.floor(math.log2(side / (4 * multiple))))
    return -(-side // step) * step


def choose_buckets(
    sizes: Mapping[Size, int], most: int, fits: Callable[[Size], bool]
) -> tuple[Size, ...]:
    """At most `most` buckets for pictures of `sizes` (with their counts), wasting few pixels.

    Starts with a bucket for every size and merges, time and again, the two whose union adds the
    fewest pixels; in the end also those that add less than a compilation costs. Then each bucket is
    exchanged for another as long as that saves pixels. Buckets that do not `fit` are not made, even
    if more than `most` remain.
    """
    if not sizes:
        return ()
    counts = _coarser(sizes)
    buckets = Counter(counts)
    while len(buckets) > 1:
        cheapest = min(
            (
                (_added(a, b, buckets), _union(a, b), a, b)
                for a in buckets
                for b in buckets
                if a < b and fits(_union(a, b))
            ),
            default=None,
        )
        if cheapest is None or (len(buckets) <= most and cheapest[0] > _WORTH):
            break
        _, union, a, b = cheapest
        count = buckets.pop(a) + buckets.pop(b)
        buckets[union] += count
    chosen = _exchanged(list(buckets), counts, fits)
    return tuple(sorted(chosen, key=lambda bucket: (pixels(bucket), bucket)))


def _exchanged(
    buckets: list[Size], counts: Mapping[Size, int], fits: Callable[[Size], bool]
) -> list[Size]:
    """The buckets after every exchange of one of them that saves pixels."""
    sizes, weights = np.array(list(counts)), np.array(list(counts.values()))
    sides = (sorted(set(column)) for column in sizes.T.tolist())
    candidates = [size for size in itertools.product(*sides) if fits(size)]
    candidates += [bucket for bucket in buckets if bucket not in candidates]
    shapes = np.array(candidates)
    inside = (shapes[:, None] >= sizes[None]).all(axis=2)
    cost = np.where(inside, shapes.prod(axis=1)[:, None] * weights, np.inf)
    chosen = [candidates.index(bucket) for bucket in buckets]
    best, before = cost[chosen].min(axis=0).sum(), np.inf
    while best < before:
        before = best
        for i in range(len(chosen)):
            others = cost[chosen[:i] + chosen[i + 1 :]].min(axis=0, initial=np.inf)
            totals = np.minimum(cost, others).sum(axis=1)
            if totals.min() < best:
                best, chosen[i] = totals.min(), int(totals.argmin())
    return [candidates[i] for i in chosen]


def _coarser(sizes: Mapping[Size, int]) -> Mapping[Size, int]:
    """`sizes` rounded up to a grid that leaves few enough of them to compare all pairs."""
    grid, rounded = 1, Counter(sizes)
    while len(rounded) > _MERGED:
        grid, rounded = 2 * grid, Counter()
        for size, count in sizes.items():
            rounded[padded(size, grid, grid)] += count
    # A lone member of a cell keeps its own size; the others take the smallest that holds them all.
    tight: dict[Size, Size] = {}
    for size in sizes:
        cell = padded(size, grid, grid)
        tight[cell] = _union(tight.get(cell, size), size)
    counts = Counter()
    for cell, count in rounded.items():
        counts[tight[cell]] += count
    return counts


def _union(a: Size, b: Size) -> Size:
    return max(a[0], b[0]), max(a[1], b[1])


def _added(a: Size, b: Size, counts: Mapping[Size, int]) -> int:
    union = pixels(_union(a, b))
    return sum((union - pixels(size)) * counts[size] for size in (a, b))
