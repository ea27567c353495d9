"""Parts of pictures through the network, several in one compiled shape."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from dgunet_jax.data.augmentation import dihedral, undo_dihedral
from dgunet_jax.errors import UserError
from dgunet_jax.models.network import DGUNet
from dgunet_jax.precision import Precision
from dgunet_jax.restoration.orientation import can_lie, transposed
from dgunet_jax.restoration.plan import Plan, Size
from dgunet_jax.restoration.planner import Planner
from dgunet_jax.restoration.tiles import Box, weights


class Picture:
    """A picture that is being restored: what goes in, and the sum of what has come back.

    Args:
      key: whatever names it.
      padded: the padded picture, (H, W, C).
      size: its height and width without the padding.
    """

    def __init__(self, key: Hashable, plan: Plan, padded: NDArray[np.floating], size: Size):
        self.key, self.plan, self.padded, self.size = key, plan, padded, size
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

    def image(self) -> NDArray[np.floating]:
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
        self._compiled: set[tuple[int, Size, bool]] = set()

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
        running: collections.deque[tuple[Future[NDArray[np.float32]], list[Part], bool]]
        running = collections.deque()
        pool = ThreadPoolExecutor(self.planner.most_at_once)
        try:
            for bucket, lies, batch in self._batches(all_parts, batches):
                length = batches.get(bucket, 1)
                shape = length, bucket, stages
                new = shape not in self._compiled
                if new:
                    announce(f"compiling for arrays of {length}×{bucket[0]}×{bucket[1]} …")
                    self._compiled.add(shape)
                computed = pool.submit(self._compute, batch, bucket, length, lies, stages)
                running.append((computed, batch, lies))
                if new:
                    computed.exception()  # another thread would compile the same once more
                held = max(part.picture.plan.held for part in batch)
                while len(running) >= self.planner.at_once(bucket, length, held):
                    yield from _collect(*running.popleft())
            while running:
                yield from _collect(*running.popleft())
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

    def _compute(
        self, batch: list[Part], bucket: Size, length: int, lies: bool, stages: bool
    ) -> NDArray[np.float32]:
        """The estimates of a batch; slots that stay empty hold the smallest black picture."""
        images = np.zeros((length, *bucket, self.planner.config.channels), np.float32)
        sizes: Any = np.full((length, 2), self.planner.config.multiple, np.int32)
        for slot, part in enumerate(batch):
            image = part.image()
            image = image.swapaxes(0, 1) if lies else image
            height, width, _ = image.shape
            images[slot, :height, :width] = image
            sizes[slot] = height, width
        if self.planner.exact:
            sizes = None
        variables = self._lying_variables if lies else self.variables
        with _memory_errors(bucket), jax.default_matmul_precision(self.precision):
            estimates = apply(
                self.planner.config, self.mesh, stages, self.operator, variables, images, sizes
            )
            return np.asarray(estimates, np.float32)


def _collect(
    computed: Future[NDArray[np.float32]], batch: list[Part], lies: bool
) -> Iterator[Picture]:
    """Puts results where they belong; yields the pictures that have all of theirs."""
    estimates = computed.result()
    if lies:
        estimates = estimates.swapaxes(2, 3)
    for slot, part in enumerate(batch):
        height, width, _ = part.image().shape
        image = undo_dihedral(estimates[:, slot, :height, :width], part.symmetry)
        part.picture.add(image, part.box, part.weight)
        if not part.picture.missing:
            yield part.picture


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
    sizes = None if sizes is None else divided(sizes, "batch")
    restored: Any = DGUNet(config, operator).apply(variables, images, sizes)
    estimates = restored.stages if stages else restored.image[None]
    return divided(estimates, None, "batch", "height")


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
