"""Plans: in which compiled shapes images are restored, how many at once, in how much memory."""

import collections
import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, TypeVar

import jax

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.restoration.shapes import (
    Box,
    Size,
    can_lie,
    choose_buckets,
    cover,
    holds,
    padded,
    pixels,
)
from dgunet_jax.system.errors import UserError
from dgunet_jax.system.memory import available_memory


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
