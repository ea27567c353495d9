"""Restoring pictures of any size."""

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from dgunet_jax.data.transforms import DIHEDRAL, dihedral
from dgunet_jax.models.network import DGUNet
from dgunet_jax.operators.arrays import described, signature
from dgunet_jax.operators.base import as_pytree, image_shape, zero_extends
from dgunet_jax.operators.library import SamplingMatrix
from dgunet_jax.restoration.plan import Plan, Planner, Schedule, free_memory, held_per_pixel
from dgunet_jax.restoration.running import Part, Picture, Runner, parts
from dgunet_jax.restoration.shapes import Size, choose_bucket, pad_to_multiple
from dgunet_jax.system.compilation import Precision
from dgunet_jax.system.errors import UserError, one_line
from dgunet_jax.system.memory import available_memory

Image = NDArray[np.floating]

_MOST_IN_BATCH = 16  # images at a time on an accelerator, unless they have more pixels than
_MOST_BATCH_PIXELS = 2**20
_MOST_AT_ONCE = 8
_LEAST, _MOST = -2.0, 3.0  # what noise of any published protocol stays within
_NOISE, _RARE = 0.25, 0.01  # noise reaches so far beyond [0, 1] at so few values
_ROUNDING = 1e-3  # of an operator computed in another shape


class Restorer:
    """Restores pictures of any size with few compilations, within the memory there is.

    A picture is padded to the next multiple of 8 by reflection (for compressive sensing to one of
    32 by zeros), restored in the corner of a larger array as if it were alone, and cropped. So the
    result does not depend on the array, nor, but for rounding, on batch, devices and platform.

    Args:
      model: the network.
      variables: its variables.
      self_ensemble: average, in float32, over the eight flips and rotations of a picture.
      tile: side, in pixels, of the overlapping tiles in which larger pictures are restored, a
        multiple of 8; "auto": the largest tiles that fit, for pictures that do not; None: none.
        Instance statistics, channel attention and the subspace projection see the whole picture, so
        tiles give an approximation.
      mesh: devices in one axis, "height" (the rows of every picture are divided among them, which
        is exact) or "batch" (every one takes other pictures).
      window: side in pixels of the squares over which instance statistics and channel attention are
        taken (`DGUNetConfig.window`); 0: whole pictures.
      dtype: of the computation, "bfloat16" or "float32"; None: the model's own.
      precision: of products: "highest", full float32 on every platform, or "default", the
        platform's fast mode (TF32 on a GPU, bfloat16 on a TPU), whose result differs a little.
      memory: bytes that may be used on each device; None: what is free now. On a CPU the pictures
        themselves count too; elsewhere they may take what the host's memory has free.
      batch: images computed at a time; None: one on a CPU, else up to 16 with a megapixel in all.
      noise: σ of what is measured, in the images' unit, for a network that is told it
        (`noise_input`).

    A network of a known degradation takes what its operator measures, see `measured`. Only where
    that is an image of the same size, and the operator has `zero_extends`, do pictures of several
    sizes share arrays; others are restored one by one.

    Raises:
      UserError: a value that makes no sense; the message names it.
    """

    def __init__(
        self,
        model: DGUNet,
        variables: Mapping[str, Any],
        *,
        self_ensemble: bool = False,
        tile: int | Literal["auto"] | None = None,
        mesh: Mesh | None = None,
        window: int = 0,
        dtype: str | None = None,
        precision: Precision = "highest",
        memory: int | None = None,
        batch: int | None = None,
        noise: float | None = None,
    ):
        config = dataclasses.replace(model.config, window=window, dtype=dtype or model.config.dtype)
        devices = _devices(mesh)
        known = config.takes_operator
        self._one_by_one = known and not (model.operator is not None and _shares(model))
        if self._one_by_one:
            _refuse(mesh=mesh, tile=tile, self_ensemble=self_ensemble or None)
        elif known and self_ensemble:
            _check_symmetric(model)
        if precision not in get_args(Precision):
            raise UserError(f"precision is {precision!r}; it must be highest or default")
        if batch is not None and batch < 1:
            raise UserError(f"batch is {batch}; it must be at least 1")
        device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
        on_cpu = device.platform == "cpu"
        config = config.on(device.platform)
        self._symmetries = range(DIHEDRAL if self_ensemble else 1)
        self.planner = Planner(
            config,
            parameter_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(variables)),
            memory=free_memory(device) if memory is None else memory,
            host=None if on_cpu else available_memory() or math.inf,
            tile=tile,
            rows=devices.get("height", 1),
            columns=devices.get("batch", 1),
            versions=len(self._symmetries),
            # Several images at a time keep an accelerator busy, and a CPU's caches cold.
            most_in_batch=batch or (1 if on_cpu else _MOST_IN_BATCH),
            most_batch_pixels=None if batch else _MOST_BATCH_PIXELS,
            most_at_once=_at_once(on_cpu, mesh),
        )
        placement = None if mesh is None else NamedSharding(mesh, PartitionSpec())
        placed = jax.device_put(variables, placement)
        self._runner = Runner(self.planner, as_pytree(model.operator), placed, mesh, precision)
        self._noise = noise
        self._of_images = not known
        self._known: list[Size] = []

    def plan(self, size: Size) -> Plan:
        """How a picture of `size`, (height, width) in pixels, is restored; see `Planner.plan`."""
        return self.planner.plan(size)

    def schedule(self, sizes: Iterable[Size], held: int = held_per_pixel()) -> Schedule:
        """The few compiled shapes for pictures of `sizes`, to be handed to `each`.

        Args:
          held: bytes a pixel takes outside of the network, see `memory.held_per_pixel`.
        """
        return self.planner.schedule(sizes, held)

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Restores one image.

        Args:
          image: (H, W, C), floating point, values in [0, 1].

        Returns:
          (H, W, C), float32, not clamped.

        Raises:
          UserError: the image has another shape or dtype, values that are not finite or cannot be
            those of an image in [0, 1]; or it does not fit into memory.
        """
        return self._alone(image, stages=False)[-1]

    def measured(
        self,
        y: Any,
        operator: Any = None,
        noise: float | None = None,
        stages: bool = False,
    ) -> NDArray[np.float32]:
        """Restores an image from what was measured of it, by itself, in its own size.

        Args:
          y: the measurement of one image, without an axis for a batch: an array of any shape, real
            or complex, or a tree of them. For compressive sensing what the network's own matrix
            measures, (H/32, W/32, M).
          operator: what has measured it, of one image; None: the network's own.
          noise: σ; None: as given to the `Restorer`.
          stages: whether every stage's estimate is wanted.

        Returns:
          (H, W, C), float32, not clamped; with `stages` (K, H, W, C).

        Raises:
          UserError: there is no operator, y is not a measurement of it or not finite, or the image
            does not fit into memory.
        """
        operator = self._runner.operator if operator is None else as_pytree(operator)
        config = self.planner.config
        if config.measurements:
            operator = SamplingMatrix(self._runner.variables["params"]["sampling_matrix"])
        if operator is None:
            raise UserError("the network needs the operator that has measured what it restores")
        y = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], y)
        bad = sum(int(jnp.sum(~jnp.isfinite(leaf))) for leaf in jax.tree.leaves(y))
        if bad:
            raise UserError(f"the measurement has {bad} values that are not finite")
        height, width = _measured_size(operator, y)
        self.planner.plan((height, width), held=held_per_pixel(config.num_stages if stages else 1))
        noise = self._noise if noise is None else noise
        found = self._runner.alone(operator, y, (height, width), noise, stages)
        return found if stages else found[-1]

    def stages(self, image: Image) -> NDArray[np.float32]:
        """As the call, with every stage's estimate: (K, H, W, C), first stage first."""
        return self._alone(image, stages=True)

    def _alone(self, image: Image, stages: bool) -> NDArray[np.float32]:
        if self._one_by_one:
            found = self.measured(image, stages=stages)
            return found if stages else found[None]
        self.check(image)
        self.warn_of_range(image)
        size = image.shape[:2]
        kept = self.planner.config.num_stages if stages else 1
        plan = self.planner.plan(size, held=held_per_pixel(kept))
        shared = choose_bucket(plan.bucket, self._known, self.planner.multiples)
        plan = self.planner.moved(plan, [shared])
        if plan.bucket not in self._known:
            self._known.append(plan.bucket)
        batch = self.planner.batch(plan.bucket, len(self._symmetries), plan.held)
        schedule = Schedule({plan.bucket: batch}, 0.0, {size: plan})
        ((_, restored),) = self.each([(None, image)], schedule, stages)
        return restored

    def each(
        self,
        images: Iterable[tuple[Hashable, Image]],
        schedule: Schedule,
        stages: bool = False,
        announce: Callable[[str], None] = lambda line: None,
    ) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        """Restores images as they come, in batches.

        Args:
          images: a name for each, and the image.
          schedule: the compiled shapes to use, from `schedule` for the sizes that will come. What
            comes in another size takes the shape it fits into, or one of its own.
          stages: give all estimates instead of the last.
          announce: is told, in one line, what is compiled, before it is.

        Yields:
          The name of an image and what `stages` gives; without `stages` its last estimate alone,
          (1, H, W, C). In the order in which batches are full, which is that of the images if they
          come one bucket after the other.

        Raises:
          UserError: as for a call; what was given before it has been yielded or is lost.
        """
        if self._one_by_one:
            yield from ((key, self._alone(image, stages)) for key, image in images)
            return

        def all_parts() -> Iterator[Part]:
            for key, image in images:
                self.check(image)
                size = image.shape[:2]
                plan = schedule.plans.get(size) or self.planner.plan(size, schedule.buckets)
                config = self.planner.config
                padded = pad_to_multiple(image, config.multiple, zeros=bool(config.measurements))
                yield from parts(Picture(key, plan, padded, size), self._symmetries)

        for picture in self._runner.run(all_parts(), schedule.buckets, stages, announce):
            yield picture.key, picture.finish()

    def scores(
        self,
        pairs: Iterable[tuple[Hashable, NDArray[Any], NDArray[Any]]],
        schedule: Schedule,
    ) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        """Score restored images on the devices, without fetching them; neither tiles nor ensemble.

        Args:
          pairs: a name for each, its input and its target, (H, W, C), both uint8, or floating
            point in [0, 1].
          schedule: from `schedule` for exactly these sizes.

        Yields:
          The name and RGB PSNR in dB of the input and of every stage's estimate, clamped and not
          rounded, (1 + K,); computed in float32.
        """

        def all_parts() -> Iterator[Part]:
            for key, image, target in pairs:
                size = image.shape[:2]
                config = self.planner.config
                padded, wanted = (
                    pad_to_multiple(each, config.multiple, zeros=bool(config.measurements))
                    for each in (image, target)
                )
                picture = Picture(key, schedule.plans[size], padded, size, wanted)
                yield from parts(picture, [0])

        yield from self._runner.score(all_parts(), schedule.buckets)

    def check(self, image: Image) -> None:
        """Raise a UserError unless `image` is (H, W, C), floating point, and can lie in [0, 1].

        Noise may carry values beyond [0, 1], but not beyond [-2, 3]. With an operator of its own a
        network may take measurements of any range.
        """
        channels = self.planner.config.channels
        if np.ndim(image) != 3 or 0 in image.shape or image.shape[2] != channels:
            raise UserError(f"the image has shape {np.shape(image)}; it must be (H, W, {channels})")
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise UserError(f"the image is {image.dtype}; it must be floating point in [0, 1]")
        low, high = float(image.min()), float(image.max())  # NaN if one value is
        if not math.isfinite(low) or not math.isfinite(high):
            row, column, channel = np.argwhere(~np.isfinite(np.asarray(image)))[0].tolist()
            raise UserError(
                f"the image is {image[row, column, channel]} at row {row}, column {column}, channel"
                f" {channel}; all values must be finite"
            )
        if self._of_images and not (low >= _LEAST and high <= _MOST):
            advice = "; divide it by 255" if 64 < high < 512 else ""
            raise UserError(
                f"the image has values from {low:.4g} to {high:.4g}; they must lie in [0, 1]"
                + advice
            )

    def warn_of_range(self, image: Image) -> None:
        """Warn of an image that `check` lets pass and that is hardly one in [0, 1] with noise."""
        outside = np.mean((image < -_NOISE) | (image > 1 + _NOISE))
        if self._of_images and outside > _RARE:
            warnings.warn(
                f"the image has values from {float(image.min()):.4g} to {float(image.max()):.4g},"
                f" {outside:.0%} of them far outside [0, 1], in which the network expects them",
                stacklevel=4,
            )


def _shares(model: DGUNet) -> bool:
    """Whether images of several sizes may lie in arrays of one: see `Restorer`.

    Raises:
      UserError: the operator says that it has `zero_extends`, and a random image shows that not.
    """
    config, operator = model.config, as_pytree(model.operator)
    if not zero_extends(operator) or config.noise_input:
        return False
    shape = (1, 2 * config.multiple, 3 * config.multiple, config.channels)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    made = (
        jax.eval_shape(operator.forward, image),
        jax.eval_shape(lambda r: operator.start(r), image),
    )
    if any(getattr(each, "shape", None) != shape for each in made):
        return False
    image = np.random.default_rng(0).random(shape, np.float32)
    wide = np.pad(image, ((0, 0), (0, config.multiple), (0, config.multiple), (0, 0)))
    for name, function in (
        ("Φ", operator.forward),
        ("Φᵀ", lambda r: operator.adjoint(r, at=r)),
    ):
        within = function(wide)[:, : shape[1], : shape[2]]
        if (gap := _relative(within, function(image))) > _ROUNDING:
            raise UserError(
                f"the operator says zero_extends = True, but {name} of an image changes by"
                f" {gap:.2g} of itself when zeros are put beside it"
            )
    return True


def _measured_size(operator: Any, y: Any) -> Size:
    """Return the size of the image that y is a measurement of.

    Raises:
      UserError: y is not one, or the operator, which may be the caller's own code, fails.
    """
    shape = image_shape(operator, y)
    try:
        made = jax.eval_shape(operator.forward, jax.ShapeDtypeStruct(shape, jnp.float32))
    except Exception as error:
        raise UserError(
            f"the operator fails on an image {shape}: {one_line(error)[:300]}"
        ) from error
    if signature(made) != signature(y):
        raise UserError(
            f"the operator makes {described(made)} of an image {shape}; the measurement is"
            f" {described(y)}"
        )
    return shape[1], shape[2]


def _refuse(**options: Any) -> None:
    """Raise a UserError if one of the options is given that images one by one do not have."""
    for name, value in options.items():
        if value is not None:
            raise UserError(
                f"{name} needs an operator with zero_extends = True that measures images by images"
            )


def _check_symmetric(model: DGUNet) -> None:
    """Raise a UserError unless an operator commutes with flips and rotations of a random image."""
    config, operator = model.config, as_pytree(model.operator)
    shape = (1, 2 * config.multiple, 3 * config.multiple, config.channels)
    image = np.random.default_rng(0).random(shape, np.float32)
    measured = np.asarray(operator.forward(image))
    for symmetry in range(1, DIHEDRAL):
        turned = operator.forward(dihedral(image, symmetry))
        gap = _relative(turned, dihedral(measured, symmetry))
        if gap > _ROUNDING:
            raise UserError(
                "self_ensemble needs an operator that commutes with flips and rotations; this"
                f" one changes by {gap:.2g} of itself"
            )


def _relative(found: Any, expected: Any) -> float:
    """The norm of a difference as a fraction of that of what is expected."""
    expected = np.asarray(expected)
    return float(np.linalg.norm(np.asarray(found) - expected) / (np.linalg.norm(expected) or 1))


def _at_once(on_cpu: bool, mesh: Mesh | None) -> int:
    """Batches to compute at the same time.

    A single one leaves a third of two cores idle; an accelerator takes one after the other, but
    should find the next one ready. Programs that exchange data must not overtake each other.
    """
    if mesh is not None:
        return 1
    return min(_MOST_AT_ONCE, os.cpu_count() or 1) if on_cpu else 2


def _devices(mesh: Mesh | None) -> dict[str, int]:
    devices = {} if mesh is None else {str(name): size for name, size in mesh.shape.items()}
    # Not by both: with one pixel of the coarsest scale per device XLA 0.10.2 computes wrong values.
    if mesh is not None and (len(devices) != 1 or not set(devices) <= {"height", "batch"}):
        raise UserError(
            f"the mesh has the axes {', '.join(devices)}; it must have one, height or batch"
        )
    return devices
