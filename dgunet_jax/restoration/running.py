"""Parts of pictures through the network, several in one compiled shape."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from dgunet_jax.data.transforms import dihedral, undo_dihedral, unit_range
from dgunet_jax.models.network import DGUNet
from dgunet_jax.operators.library import Cropped
from dgunet_jax.restoration.plan import Plan, Planner
from dgunet_jax.restoration.shapes import Box, Size, can_lie, padded, transposed, weights
from dgunet_jax.system.compilation import Precision
from dgunet_jax.system.errors import UserError


class Picture:
    """A picture that is being restored: what goes in, and the sum of what has come back.

    Args:
      key: whatever names it.
      padded: the padded picture, (H, W, C).
      size: its height and width without the padding.
      target: what it should be restored to, padded alike, where that is scored.
    """

    def __init__(
        self,
        key: Hashable,
        plan: Plan,
        padded: NDArray[Any],
        size: Size,
        target: NDArray[Any] | None = None,
    ):
        self.key, self.plan, self.padded, self.size = key, plan, padded, size
        self.target = target
        self.missing = 0  # parts that have not come back
        self.versions = 0  # how often every pixel is restored
        self._total: NDArray[np.float32] | None = None

    def add(self, estimates: NDArray[np.float32], box: Box, weight: Any) -> None:
        if self._total is None:
            self._total = np.zeros((len(estimates), *self.padded.shape), np.float32)
        box.cut(self._total)[...] += weight * estimates
        self.missing -= 1

    def finish(self) -> NDArray[np.float32]:
        """The mean over the versions, cropped: (K, H, W, C) or (1, H, W, C)."""
        assert self._total is not None
        return self._total[:, : self.size[0], : self.size[1]] / np.float32(self.versions)


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A tile of a picture, flipped and rotated: element `symmetry` of `dihedral`."""

    picture: Picture
    box: Box
    weight: Any
    symmetry: int

    def image(self) -> NDArray[Any]:
        return dihedral(self.box.cut(self.picture.padded), self.symmetry)

    @property
    def lies(self) -> bool:
        """Whether it is wider than high, in a plan that puts such pictures on their side."""
        swapped = self.symmetry % 2 == 1  # an odd number of quarter turns
        return self.picture.plan.transposed != swapped


def parts(picture: Picture, symmetries: Sequence[int]) -> list[Part]:
    boxes = picture.plan.tiles
    shares = weights(boxes) if len(boxes) > 1 else [np.float32(1)]
    picture.versions, picture.missing = len(symmetries), len(symmetries) * len(boxes)
    return [
        Part(picture, box, share, symmetry)
        for box, share in zip(boxes, shares, strict=True)
        for symmetry in symmetries
    ]


@dataclasses.dataclass
class Runner:
    """The compiled network and what it is fed.

    Attributes:
      planner: tells how much fits into memory.
      variables: the network's, on the devices of `mesh`.
      precision: of products.
    """

    planner: Planner
    operator: Any
    variables: Any
    mesh: Mesh | None
    precision: Precision = "highest"

    def __post_init__(self):
        self._compiled: set[tuple[int, Size, Hashable]] = set()

    @functools.cached_property
    def _lying_variables(self) -> Any:
        sharding = None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())
        return jax.device_put(transposed(self.variables), sharding)

    def run(
        self,
        all_parts: Iterable[Part],
        batches: Mapping[Size, int],
        stages: bool,
        announce: Callable[[str], None],
    ) -> Iterator[Picture]:
        """Runs the parts in batches; yields the pictures that have all of theirs.

        Several batches are computed at the same time, and the results of those before them put
        together. Batches that are not full at the end are run as they are.
        """

        compute = functools.partial(self._estimates, stages=stages)
        for estimates, batch, lies in self._each(all_parts, batches, compute, stages, announce):
            yield from _collect(estimates, batch, lies)

    def score(
        self, all_parts: Iterable[Part], batches: Mapping[Size, int]
    ) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        """Score pictures that are one part each, on the devices.

        Yields:
          A picture's key, and PSNR in dB of its input and of every stage's estimate, clamped,
          (1 + K,).
        """
        for scores, batch, _ in self._each(all_parts, batches, self._scores, "scores"):
            yield from zip((part.picture.key for part in batch), scores, strict=False)

    def alone(
        self, operator: Any, y: Any, size: Size, noise: float | None, stages: bool
    ) -> NDArray[np.float32]:
        """Return the estimates of one image from its measurement, (K, H, W, C) or (1, H, W, C).

        Args:
          operator: what has measured it.
          y: the measurement, with a leading axis of one.
          size: of the image.
          noise: σ, for a network that is told it.
          stages: whether all estimates are wanted.
        """
        config = self.planner.config
        whole = padded(size, config.multiple, config.multiple)
        if whole != size:
            operator = Cropped(operator, size, whole)
        if config.measurements:
            operator = None  # the network makes it of its own matrix
        with _memory_errors(size), jax.default_matmul_precision(self.precision):
            found = apply_to(config, stages, operator, self.variables, y, noise)
            return np.asarray(found, np.float32)[:, 0, : size[0], : size[1]]

    def _each(
        self,
        all_parts: Iterable[Part],
        batches: Mapping[Size, int],
        compute: Callable[[list[Part], Size, int, bool], NDArray[np.float32]],
        what: Hashable,
        announce: Callable[[str], None] = lambda line: None,
    ) -> Iterator[tuple[NDArray[np.float32], list[Part], bool]]:
        """What is computed of every batch, its parts, and whether they lie on their side."""
        running: collections.deque[tuple[Future[NDArray[np.float32]], list[Part], bool]]
        running = collections.deque()

        def first() -> tuple[NDArray[np.float32], list[Part], bool]:
            computed, batch, lies = running.popleft()
            return computed.result(), batch, lies

        pool = ThreadPoolExecutor(self.planner.most_at_once)
        try:
            for bucket, lies, batch in self._batches(all_parts, batches):
                length = batches.get(bucket, 1)
                shape = length, bucket, what
                new = shape not in self._compiled
                if new:
                    announce(f"compiling for arrays of {length}×{bucket[0]}×{bucket[1]} …")
                    self._compiled.add(shape)
                computed = pool.submit(compute, batch, bucket, length, lies)
                running.append((computed, batch, lies))
                if new:
                    computed.exception()  # another thread would compile the same once more
                held = max(part.picture.plan.held for part in batch)
                while len(running) >= self.planner.at_once(bucket, length, held):
                    yield first()
            while running:
                yield first()
        finally:
            pool.shutdown(cancel_futures=True)

    def _batches(
        self, all_parts: Iterable[Part], batches: Mapping[Size, int]
    ) -> Iterator[tuple[Size, bool, list[Part]]]:
        waiting: dict[tuple[Size, bool], list[Part]] = {}
        for part in all_parts:
            bucket = part.picture.plan.bucket
            group = bucket, part.lies and can_lie(self.planner.config)
            waiting.setdefault(group, []).append(part)
            if len(waiting[group]) == batches.get(bucket, 1):
                yield *group, waiting.pop(group)
        for group, batch in waiting.items():
            yield *group, batch

    def _estimates(
        self, batch: list[Part], bucket: Size, length: int, lies: bool, stages: bool
    ) -> NDArray[np.float32]:
        images, sizes = self._stacked([part.image() for part in batch], bucket, length, lies)
        variables = self._lying_variables if lies else self.variables
        with _memory_errors(bucket), jax.default_matmul_precision(self.precision):
            estimates = apply(
                self.planner.config, self.mesh, stages, self.operator, variables, images, sizes
            )
            return np.asarray(estimates, np.float32)

    def _scores(
        self, batch: list[Part], bucket: Size, length: int, lies: bool
    ) -> NDArray[np.float32]:
        images, sizes = self._stacked([part.image() for part in batch], bucket, length, lies)
        wanted: list[Any] = [part.picture.target for part in batch]
        targets, _ = self._stacked(wanted, bucket, length, lies)
        scored = np.ones_like(sizes)
        for slot, part in enumerate(batch):
            scored[slot] = part.picture.size[::-1] if lies else part.picture.size
        variables = self._lying_variables if lies else self.variables
        with _memory_errors(bucket), jax.default_matmul_precision(self.precision):
            arrays = images, targets, sizes, scored
            return np.asarray(score(self.planner.config, self.mesh, variables, *arrays))

    def _stacked(
        self, images: Sequence[NDArray[Any]], bucket: Size, length: int, lies: bool
    ) -> tuple[NDArray[Any], Any]:
        """Images in the corners of larger ones, (N, *bucket, C), and their sizes, (N, 2).

        Slots that stay empty hold the smallest black picture.
        """
        kind = np.uint8 if images[0].dtype == np.uint8 else np.float32
        stacked = np.zeros((length, *bucket, self.planner.config.channels), kind)
        sizes = np.full((length, 2), self.planner.config.multiple, np.int32)
        for slot, image in enumerate(images):
            image = image.swapaxes(0, 1) if lies else image
            height, width, _ = image.shape
            stacked[slot, :height, :width] = image
            sizes[slot] = height, width
        return stacked, sizes


def _collect(estimates: NDArray[np.float32], batch: list[Part], lies: bool) -> Iterator[Picture]:
    """Puts results where they belong; yields the pictures that have all of theirs."""
    if lies:
        estimates = estimates.swapaxes(2, 3)
    for slot, part in enumerate(batch):
        height, width, _ = part.image().shape
        image = undo_dihedral(estimates[:, slot, :height, :width], part.symmetry)
        part.picture.add(image, part.box, part.weight)
        if not part.picture.missing:
            yield part.picture


@functools.partial(jax.jit, static_argnums=(0, 1))
def apply_to(config, stages, operator, variables, y, noise):
    """Estimates from measurements, (K, N, H, W, C), or (1, N, H, W, C) with only the last."""
    restored: Any = DGUNet(config, operator).apply(variables, y, noise=noise, measured=True)
    return restored.stages if stages else restored.image[None]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def apply(config, mesh, stages, operator, variables, images, sizes):
    """Estimates of a batch, (K, N, H, W, C), or (1, N, H, W, C) with only the last.

    With a mesh the batch is divided over its axis "batch" and the rows over "height". Convolutions
    then exchange the rows at the seams, means and Gram matrices are summed over the devices;
    nothing is gathered.
    """

    def divided(array, *axes):
        if mesh is None:
            return array
        axes = (axis if axis in mesh.axis_names else None for axis in axes)
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.lax.with_sharding_constraint(array, sharding)

    images = divided(images, "batch", "height")
    sizes = divided(sizes, "batch")
    restored: Any = DGUNet(config, operator).apply(variables, images, sizes)
    estimates = restored.stages if stages else restored.image[None]
    return divided(estimates, None, "batch", "height")


@functools.partial(jax.jit, static_argnums=(0, 1))
def score(config, mesh, variables, images, targets, sizes, scored):
    """PSNR in dB of the inputs and of every stage's estimates, clamped, (N, 1 + K).

    `images` and `targets` are in [0, 1], or uint8; `scored` (N, 2) are the sizes, without padding,
    in which they are compared.
    """
    images, targets = unit_range(images), unit_range(targets)
    estimates = apply(config, mesh, True, None, variables, images, sizes)
    rows, columns = (jnp.arange(side)[None] for side in images.shape[1:3])
    inside = (rows < scored[:, :1])[:, :, None] & (columns < scored[:, 1:])[:, None]
    values = images.shape[3] * scored.prod(axis=1)

    def decibel(image):
        error = jnp.square(jnp.clip(image.astype(jnp.float32), 0, 1) - targets)
        error = jnp.where(inside[..., None], error, 0).sum(axis=(1, 2, 3)) / values
        return -10 * jnp.log10(error)

    return jnp.stack([decibel(images), *(decibel(estimate) for estimate in estimates)], axis=1)


@contextlib.contextmanager
def _memory_errors(size: tuple[int, ...]) -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"the device has not enough memory for {size[0]}×{size[1]} pixels;"
            " restore in tiles, on more devices, or with a lower memory limit"
        ) from error
