"""Which images are restored together, in which shapes, and in how much memory."""

import collections
import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, TypeVar

import jax
import numpy as np
from numpy.typing import NDArray

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.memory import available_memory


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


_FLOAT = 4  # bytes; what is computed in bfloat16 is kept in float32 on the way, so it counts alike


def bytes_per_pixel(config: DGUNetConfig, divided: bool = False) -> float:
    """Memory one pixel of a batch takes in the compiled network, input and estimates included.

    An upper estimate, fitted to the compiled programs of the released models and ablations: per
    pixel 8.7 n + 3.4 s + 115 floats (n the width, s the growth), and 70 more where Φᵀ is
    differentiated from Φ. Where the rows are `divided` among devices, a sixth more and 100 floats,
    for copies with the neighbours' rows. What is compiled takes between 0.5 and 1 of all that.
    """
    features = 8.7 * config.width + 3.4 * config.growth + 115
    if config.degradation == "tied":
        features += 70
    if divided:
        features = 1.16 * features + 100
    return _FLOAT * (features + (config.num_stages + 3) * config.channels)


def held_per_pixel(kept: int = 1, side_by_side: int = 1) -> int:
    """Return the bytes one pixel of a picture takes outside of the network.

    An upper bound of all formats, 16 bits and transparency included: while the picture is read (40,
    with what decoders need), while it is restored (the picture, padded copies in float32, tiles'
    weights; 24 for each estimate that is `kept`), or while it is written (36 for each image that is
    written `side_by_side`, the compressed file included).
    """
    return max(40 + 24 * kept, 8 + 12 * kept + 36 * side_by_side)


def free_memory(device: Any) -> int | None:
    """Bytes that the device can still give, or None where nobody tells.

    On a CPU the devices share what the machine, or the container, has left.
    """
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    free = available_memory()
    return None if free is None else free // jax.local_device_count("cpu")


MOST_BUCKETS = 5
LEAST_TILE = 64


class HasSize(Protocol):
    """A picture whose size is known."""

    @property
    def size(self) -> Size: ...


Sized = TypeVar("Sized", bound=HasSize)


class TooLarge(UserError):
    """A picture does not fit into memory; the message says what would."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The compiled shapes that serve a number of pictures.

    Attributes:
      buckets: their sizes, and the number of images each takes at a time.
      waste: pixels computed for nothing, as a fraction of those of the padded pictures.
      plans: of each size of the pictures, in these buckets.
      too_large: of each size that does not fit into memory, what would.
    """

    buckets: Mapping[Size, int]
    waste: float
    plans: Mapping[Size, Plan] = dataclasses.field(default_factory=dict)
    too_large: Mapping[Size, str] = dataclasses.field(default_factory=dict)

    def arrange(self, items: Iterable[Sized]) -> tuple[list[Sized], list[tuple[Sized, str]]]:
        """Pictures in an order in which each compiled shape is used once, and those that are too
        large, with what would fit."""
        places = {bucket: i for i, bucket in enumerate(self.buckets)}
        fitting, too_large = [], []
        for item in items:
            if item.size in self.plans:
                fitting.append(item)
            else:
                too_large.append((item, self.too_large[item.size]))
        fitting.sort(key=lambda item: places[self.plans[item.size].bucket])
        return fitting, too_large


@dataclasses.dataclass(frozen=True)
class Planner:
    """What plans depend on besides sizes; everything it does is a pure function.

    Attributes:
      config: the network.
      parameter_bytes: size of its parameters.
      memory: bytes that may be used on each device; None: no limit.
      host: bytes for pictures, where devices have memory of their own; None: they share theirs.
      tile: side of tiles in pixels, "auto" or None; see `Restorer`.
      rows: devices among which the rows of an image are divided.
      columns: devices among which the images of a batch are divided.
      versions: of every picture that are restored, 8 with the self-ensemble, else 1.
      most_in_batch: images to compute at a time if there are enough.
      most_batch_pixels: pixels to compute at a time, unless one image has more.
      most_at_once: batches to compute at the same time.
      exact: whether what is computed at a time must fill its array.

    Raises:
      UserError: `tile` makes no sense.
    """

    config: DGUNetConfig
    parameter_bytes: int
    memory: int | None
    tile: int | Literal["auto"] | None = None
    rows: int = 1
    columns: int = 1
    versions: int = 1
    most_in_batch: int = 1
    most_batch_pixels: int | None = None
    most_at_once: int = 1
    exact: bool = False
    host: float | None = None

    def __post_init__(self):
        multiple = self.config.multiple
        if isinstance(self.tile, int):
            if self.tile < LEAST_TILE or self.tile % multiple:
                raise UserError(
                    f"tile is {self.tile}; it must be a multiple of {multiple}, at least"
                    f" {LEAST_TILE}"
                )
        elif self.tile not in (None, "auto"):
            raise UserError(f"tile is {self.tile!r}; it must be a number of pixels or 'auto'")

    @property
    def _per_pixel(self) -> float:
        return bytes_per_pixel(self.config, divided=self.rows > 1)

    @property
    def multiples(self) -> Size:
        """What heights and widths of compiled arrays are multiples of."""
        return self.config.multiple * self.rows, self.config.multiple

    def plan(self, size: Size, buckets: Iterable[Size] = (), held: int = held_per_pixel()) -> Plan:
        """How a picture of `size` is restored.

        Args:
          buckets: sizes of compiled arrays to choose from; where none holds the picture, or each of
            its tiles, it gets one of its own.
          held: bytes a pixel takes outside of the network.

        Raises:
          TooLarge: it does not fit into memory, nor do the tiles asked for.
        """
        multiple = self.config.multiple
        whole = padded(size, multiple, multiple)
        boxes = self._divide(size, whole, held * pixels(size))
        own = self.bucket(boxes[0])
        plan = Plan(
            pad=(whole[0] - size[0], whole[1] - size[1]),
            bucket=own,
            transposed=can_lie(self.config) and boxes[0].height < boxes[0].width,
            tiles=boxes,
            bytes=self.estimate(own),
            held=held * pixels(size),
        )
        return self.moved(plan, buckets)

    def moved(self, plan: Plan, buckets: Iterable[Size]) -> Plan:
        """The plan in the smallest of the buckets that hold what its own does, if any does."""
        if self.exact:
            return plan
        holding = (b for b in buckets if holds(b, plan.bucket) and self.fits(b, held=plan.held))
        bucket = min(holding, key=pixels, default=plan.bucket)
        return dataclasses.replace(plan, bucket=bucket, bytes=self.estimate(bucket))

    def schedule(self, sizes: Iterable[Size], held: int = held_per_pixel()) -> Schedule:
        """A few compiled shapes for pictures of `sizes`, and their plans; some may be too large.

        Args:
          held: bytes a pixel takes outside of the network.
        """
        numbers = collections.Counter(sizes)
        plans: dict[Size, Plan] = {}
        too_large: dict[Size, str] = {}
        for size in numbers:
            try:
                plans[size] = self.plan(size, held=held)
            except TooLarge as error:
                too_large[size] = str(error)
        parts = {
            size: numbers[size] * len(plan.tiles) * self.versions for size, plan in plans.items()
        }

        def served() -> collections.Counter[Size]:
            counts: collections.Counter[Size] = collections.Counter()
            for size, plan in plans.items():
                counts[plan.bucket] += parts[size]
            return counts

        if self.exact:
            buckets = tuple(sorted(served(), key=lambda bucket: (pixels(bucket), bucket)))
        else:
            largest = max((plan.held for plan in plans.values()), default=0)
            fits = functools.partial(self.fits, held=largest)
            buckets = choose_buckets(served(), MOST_BUCKETS, fits)
        plans = {size: self.moved(plan, buckets) for size, plan in plans.items()}
        counts = served()
        # Near the limit a picture may stay out of the bucket that was meant for it.
        buckets = sorted(counts, key=lambda bucket: (pixels(bucket), bucket))
        largest = collections.Counter[Size]()
        for plan in plans.values():
            largest[plan.bucket] = max(largest[plan.bucket], plan.held)
        batches = {b: self.batch(b, counts[b], largest[b]) for b in buckets}
        needed = sum(
            parts[size] * pixels((plan.tiles[0].height, plan.tiles[0].width))
            for size, plan in plans.items()
        )
        computed = sum(
            -(-counts[bucket] // batch) * batch * pixels(bucket)
            for bucket, batch in batches.items()
        )
        waste = computed / needed - 1 if needed else 0.0
        return Schedule(batches, waste, plans, too_large)

    def bucket(self, box: Box) -> Size:
        """The smallest array for a box in all the orientations it is restored in."""
        size = box.height, box.width
        if can_lie(self.config):
            size = max(size), min(size)
        elif self.versions > 1:
            size = max(size), max(size)
        return padded(size, *self.multiples)

    def batch(self, bucket: Size, count: int, held: int = 0) -> int:
        """How many of `count` images to compute at a time: such that the last batch is nearly full.

        A multiple of the devices among which they are divided.
        """
        most = self.most_in_batch
        if self.most_batch_pixels is not None:
            most = min(most, self.most_batch_pixels // pixels(bucket))
        most = max(1, most // self.columns)
        while most > 1 and not self.fits(bucket, most * self.columns, held):
            most -= 1
        rounds = -(-count // (most * self.columns))
        return -(-count // (rounds * self.columns)) * self.columns

    def at_once(self, bucket: Size, batch: int, held: int = 0) -> int:
        """How many batches of a bucket to compute at the same time: as many as fit."""
        counts = range(self.most_at_once, 1, -1)
        return next((n for n in counts if self.fits(bucket, n * batch, held)), 1)

    def room(self, bucket: Size, batch: int, held: int) -> float:
        """Bytes for all pictures that are in memory while batches of a bucket are computed.

        At least `held`, where that belongs to a plan that fits.
        """
        if self.host is not None:
            return self.host
        if self.memory is None:
            return math.inf
        computed = self.estimate(bucket, batch * self.at_once(bucket, batch, held))
        return max(held, (self.memory - computed) * self.rows * self.columns)

    def estimate(self, bucket: Size, batch: int = 1) -> int:
        """Bytes on each device while `batch` images of the size of `bucket` are restored."""
        share = -(-batch // self.columns) * pixels(bucket) / self.rows
        # The parameters twice: a loop over stages with weights of their own copies them.
        return math.ceil(share * self._per_pixel) + 2 * self.parameter_bytes

    def fits(self, bucket: Size, batch: int = 1, held: int = 0) -> bool:
        """Whether `batch` images of the size of `bucket` fit beside a picture of `held` bytes."""
        return (
            self.memory is None or self.estimate(bucket, batch) + self._share(held) <= self.memory
        )

    def _share(self, held: float) -> int:
        """What a picture takes of each device's memory outside of the network."""
        return 0 if self.host is not None else math.ceil(held / (self.rows * self.columns))

    def _divide(self, size: Size, whole: Size, held: int) -> tuple[Box, ...]:
        """The boxes in which a picture is restored."""
        if self.host is not None and held > self.host:
            raise TooLarge(
                f"{size[1]}×{size[0]} pixels need about {_gigabytes(held)} of the host's memory,"
                f" {_gigabytes(self.host)} may be used"
            )
        multiple = self.config.multiple
        boxes = (Box(0, 0, *whole),)
        if self.tile == "auto" and not self.fits(self.bucket(boxes[0]), held=held):
            tile = self._largest_square(self._share(held))
            if tile < LEAST_TILE:
                raise TooLarge(self._too_large(size, held))
        else:
            tile = self.tile if isinstance(self.tile, int) else max(whole)
        boxes = cover(whole, tile, -(-tile // 8 // multiple) * multiple, multiple)
        if not self.fits(self.bucket(boxes[0]), held=held):
            raise TooLarge(self._too_large(size, held))
        return boxes

    def _largest_square(self, taken: int = 0, held: float = 0) -> int:
        """Side of the largest square array that fits.

        Args:
          taken: bytes on each device that something else has.
          held: bytes on each device that a pixel takes outside of the network.
        """
        assert self.memory is not None
        room = max(0, self.memory - 2 * self.parameter_bytes - taken)
        side = math.isqrt(int(room / (self._per_pixel / self.rows + held)))
        return side // self.multiples[0] * self.multiples[0]

    def _too_large(self, size: Size, held: int) -> str:
        assert self.memory is not None
        multiple, share = self.config.multiple, self._share(held)
        tile, per_pixel = self._largest_square(share), share / pixels(size)
        least = self.bucket(Box(0, 0, LEAST_TILE, LEAST_TILE))
        in_tiles = self.tile is not None and tile < LEAST_TILE
        if in_tiles:
            needed = self.estimate(least)
            most = int((self.memory - needed) / per_pixel) if per_pixel else 0
        else:
            needed = self.estimate(self.bucket(Box(0, 0, *padded(size, multiple, multiple))))
            most = self._largest_square(held=per_pixel) ** 2
        what = (
            f"{size[1]}×{size[0]} pixels need about {_gigabytes(needed + share)} of memory"
            f"{' on each device' if self.rows > 1 else ''}"
            f"{f', even in tiles of {LEAST_TILE}' if in_tiles else ''},"
            f" {_gigabytes(self.memory)} may be used"
        )
        if most < LEAST_TILE**2:
            return f"{what}; not even {LEAST_TILE}×{LEAST_TILE} pixels fit"
        scale = math.sqrt(most / pixels(size))
        height, width = (
            max(1, math.floor(side * scale / step)) * step
            for side, step in zip(size, self.multiples, strict=True)
        )
        advice = f"{what}; up to {width}×{height} fit"
        if tile >= LEAST_TILE:
            advice += f", or tiles of {tile} (approximate: --tile auto)"
        return advice if in_tiles else f"{advice}, or more devices (--mesh height=N)"


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.2f} GB" if number < 1e10 else f"{number / 1e9:.0f} GB"
