"""The unfolding network: stages scanned by `nn.scan`."""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.models import layers
from dgunet_jax.models.config import BLOCK, DGUNetConfig, check_images, check_sizes
from dgunet_jax.models.convolution import kernels, recomputed
from dgunet_jax.models.layers import (
    NUM_SCALES,
    LearnedPair,
    Masks,
    Memory,
    OperatorNetwork,
    TiedPair,
    masked,
)
from dgunet_jax.operators.base import Operator, as_pytree, gradient_step, method, zero_extends
from dgunet_jax.operators.library import (
    Cropped,
    Identity,
    SamplingMatrix,
    Within,
    from_blocks,
    to_blocks,
)
from dgunet_jax.operators.solvers import (
    first_estimate,
    implicit_gradient_step,
    noise_damping,
)
from dgunet_jax.system.errors import UserError

Array = jax.Array


@flax.struct.dataclass
class Shared:
    """What all stages of a network use.

    Attributes:
      operator_slope: PReLU slope of every learned operator; None if there is none.
      attention_slope: PReLU slope of the channel attention of stages that do not own one.
      operator: the known degradation; None if it is learned.
      masks: which pixels belong to the pictures, at four scales; None if all do.
      divisor: what ρ is divided by to be the length of a step: ‖Φ‖² of a known operator that tells
        it, or `noise_damping` for implicit steps that are told σ; None: 1.
      noise: σ of every image's measurement, (N or 1, 1, 1, 1); None where no stage is told.
    """

    operator_slope: Any
    attention_slope: Array
    operator: Any
    masks: Masks
    divisor: Any = None
    noise: Any = None


class Stage(nn.Module):
    """First, middle or last stage: the same thing, with or without memory and U-Net."""

    config: DGUNetConfig
    position: Literal["first", "middle", "last"]

    def setup(self):
        config, first, last = self.config, self.position == "first", self.position == "last"
        if config.degradation != "none":
            self.step_size = self.param("step_size", nn.initializers.constant(0.5), ())
        if config.degradation in ("learned", "tied"):
            self.forward_network = OperatorNetwork(config.channels, config.dtype)
        if config.degradation == "learned":
            self.adjoint_network = OperatorNetwork(config.channels, config.dtype)
        if self.position == "middle" and config.own_attention_slopes:
            self.attention_slope = self.param("attention_slope", nn.initializers.constant(0.25), ())
        self.shallow = layers.ShallowFeatures(config.width, config.window)
        if not first:
            merge = config.last_merge if last else config.merge
            wider = config.last_growth if last else 0
            self.merge = (
                layers.SubspaceMerge()
                if merge == "subspace"
                else layers.Concatenation(config.width + wider)
            )
        if last:
            self.tail = layers.Conv(config.channels, use_bias=False)
        else:
            self.encoder = layers.Encoder(config)
            self.decoder = layers.Decoder(config)
            self.attention = layers.SupervisedAttention(config.attention == "gated")

    def operator(self, shared: Shared) -> Operator:
        """The stage's Φ and Φᵀ."""
        if self.config.degradation == "known":
            if self.config.measurements or shared.masks is None:
                return shared.operator
            if not zero_extends(shared.operator):
                raise UserError(
                    "images smaller than their array (sizes) need an operator that commutes with"
                    " extending them by zeros and says so by zero_extends = True; hand over images"
                    " that fill the array, without sizes"
                )
            return Within(shared.operator, shared.masks[0])
        if self.config.degradation in ("identity", "none"):
            return Identity()
        mask, slope = layers.at_scale(shared.masks, 0), shared.operator_slope
        forward = self.forward_network(slope, mask)
        if self.config.degradation == "tied":
            return TiedPair(forward)
        return LearnedPair(forward, self.adjoint_network(slope, mask))

    def gradient(self, x: Array, y: Array, shared: Shared) -> Array:
        """v = x − ρ Φᵀ(Φ(x) − y), ρ divided by `shared.divisor`; or `implicit_gradient_step`."""
        if self.config.degradation == "none":
            return x
        operator = self.operator(shared)
        step_size = self.step_size.astype(x.dtype)
        if shared.divisor is not None:
            step_size = step_size / shared.divisor
        if self.config.implicit_steps:
            return implicit_gradient_step(operator, step_size, x, y, self.config.implicit_steps)
        with kernels(self.config.kernels):
            return gradient_step(
                operator.forward, lambda r: operator.adjoint(r, at=x), step_size, x, y
            )

    def proximal(
        self, v: Array, memory: Memory | None, y: Array, shared: Shared
    ) -> tuple[Array, Memory | None]:
        """The next estimate and memory from the gradient step's image."""
        with kernels(self.config.kernels):
            if not self.config.blockwise:
                return self._proximal(v, memory, y, shared)
            alone = dataclasses.replace(shared, masks=None)
            x, memory = self._proximal(to_blocks(v), memory, y, alone)
        # Blocks outside the picture are not empty behind a bias.
        x = layers.masked(from_blocks(x, *v.shape[1:3]), layers.at_scale(shared.masks, 0))
        return x, memory

    def _proximal(self, v, memory, y, shared):
        config = self.config
        compute = v.dtype if config.dtype is None else jnp.dtype(config.dtype)
        mask = layers.at_scale(shared.masks, 0)
        owner = self if self.position == "middle" and config.own_attention_slopes else shared

        image = v.astype(compute)
        if config.noise_input:
            noise = jnp.broadcast_to(shared.noise.astype(compute), (*v.shape[:3], 1))
            image = jnp.concatenate([image, layers.masked(noise, mask)], -1)
        features = self.shallow(image, owner.attention_slope, mask)
        if memory is not None:
            features = self.merge(features, memory.attention, mask)
        if self.position == "last":
            base = _as_image(shared.operator, y) if config.last_adds == "input" else v
            return base + self.tail(features, mask), None
        bottleneck, kept = self.encoder(features, memory, shared.masks)
        outputs = self.decoder(bottleneck, kept, shared.masks)
        attention, x = self.attention(outputs[0], v)
        scales = config.memory_scales if config.memory != "none" else ()
        memory = Memory(
            encoder=tuple(e if i in scales else None for i, e in enumerate(kept)),
            decoder=tuple(d if i in scales else None for i, d in enumerate(outputs)),
            attention=attention,
        )
        return x, memory

    def __call__(
        self, x: Array, memory: Memory | None, y: Array, shared: Shared
    ) -> tuple[Array, Memory | None]:
        return self.proximal(self.gradient(x, y, shared), memory, y, shared)


@flax.struct.dataclass
class Restored:
    """What the network gives.

    Attributes:
      image: the last estimate, (N, H, W, C), float32 or wider, not clipped.
      stages: every estimate, first stage first, (K, N, H, W, C).
    """

    image: Array
    stages: Array


class DGUNet(nn.Module):
    """Deep generalized unfolding network (Mou, Wang, Zhang, CVPR 2022; arXiv 2204.13348).

    Proximal gradient descent on ½‖Φ(x) − y‖² + λJ(x), each of K iterations with networks in it:

        v_k = x_{k−1} − ρ_k Φᵀ_k(Φ_k(x_{k−1}) − y),   x_k = prox_k(v_k),   x₀ = y.

    Attributes:
      config: sizes and choices.
      operator: with `degradation="known"` and no measurements, the degradation.
    """

    config: DGUNetConfig = DGUNetConfig()
    operator: Operator | None = None

    def setup(self):
        config = self.config
        if (self.operator is not None) != config.takes_operator:
            raise UserError(
                f"degradation {config.degradation!r} with {config.measurements} measurements"
                f" {'takes no' if self.operator is not None else 'needs an'} operator"
            )
        slope = nn.initializers.constant(0.25)
        self.attention_slope = self.param("attention_slope", slope, ())
        if config.degradation in ("learned", "tied"):
            self.operator_slope = self.param("operator_slope", slope, ())
        if config.measurements:
            self.sampling_matrix = self.param(
                "sampling_matrix", _xavier_normal, (config.measurements, BLOCK**2)
            )
        self.first = Stage(config, "first")
        if config.num_middle:
            self.middle = Stage(config, "middle")
        self.last = Stage(config, "last")

    def __call__(
        self,
        images: Array,
        sizes: Array | None = None,
        *,
        noise: Any = None,
        measured: bool = False,
    ) -> Restored:
        """Restores a batch of images.

        Args:
          images: (N, H, W, C), values in [0, 1], degraded; H and W multiples of 8. For a
            compressive-sensing model the clean images, which it samples itself, H and W multiples
            of 32. For a known operator what it measures, of any shape, real or complex.
          sizes: (N, 2), height and width of each image within the array, multiples as well; an
            image fills the top left corner. The result inside is what the image alone would give,
            and zero outside. None: all images fill the array.
          noise: σ, the standard deviation of the noise of what is measured, in the images' unit, a
            number or (N,); for a network with `noise_input` and no other.
          measured: whether `images` are not clean ones but what the matrix of a
            compressive-sensing model measures of them, (N, H/32, W/32, M).

        Raises:
          UserError: a size that does not fit, with the next one that does; a wrong number of
            channels; integers; noise that is missing or not asked for.
        """
        x, y, masks = self.start(images, sizes, measured, noise)
        shared = self.shared(masks, noise)
        x, memory = self._begin(x, y, shared)
        stages = [x[None]]
        if self.config.num_middle:
            x, memory, estimates = self._iterate(x, memory, y, shared)
            stages.append(estimates)
        x, _ = self.last(x, memory, y, shared)
        stages = jnp.concatenate([*stages, x[None]])
        return Restored(image=stages[-1], stages=stages)

    def _begin(self, x, y, shared):
        """The first stage's estimate and memory."""
        if not self.config.remat or self.is_initializing():
            return self.first(x, None, y, shared)
        # What is forced to be computed late costs other backends; and not all is differentiable.
        forced = self.config.kernels == "cpu"
        if not forced or shared.operator is not None or shared.masks is not None:
            return nn.remat(_run_stage(y, shared))(self.first, x, None)
        stage, variables = self.first.unbind()

        def run(x, variables, y, shared):
            return stage.apply(variables, x, None, y, shared)

        return recomputed(run)(x, variables, y, shared)

    def _iterate(self, x, memory, y, shared):
        """The middle stages: last estimate, last memory and all estimates."""
        config = self.config
        run = _run_stage(y, shared)
        if config.remat:
            # Inside a loop nothing can be merged with the forward pass, so the guard against it is
            # not needed.
            run = nn.remat(run, prevent_cse=False)

        def body(stage, carry, _):
            x, memory = run(stage, *carry)
            return (x, memory), x

        weights: dict[str, Any] = (
            {"variable_broadcast": "params", "split_rngs": {"params": False}}
            if config.share_middle
            else {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        )
        scan = nn.scan(
            body,
            length=config.num_middle,
            unroll=config.num_middle if config.unroll is True else config.unroll,
            **weights,
        )
        (x, memory), estimates = scan(self.middle, (x, memory), None)
        return x, memory, estimates

    def start(
        self,
        images: Array,
        sizes: Array | None = None,
        measured: bool = False,
        noise: Any = None,
    ) -> tuple[Array, Array, Masks]:
        """x₀, the measurement y, and which pixels belong to the pictures."""
        config = self.config
        samples = config.measurements and not measured
        shape_of = None if samples else method(self.known_operator, "image_shape")
        if shape_of and sizes is None:
            return self._start_from(images, shape_of(images), noise)
        images = jnp.asarray(images)
        check_images(config, images.shape, images.dtype)
        check_sizes(config, images.shape, sizes)
        masks = None if sizes is None else make_masks(images.shape, sizes)
        images = images.astype(self._image_dtype(images.dtype))
        images = masked(images, None if masks is None else masks[0])
        operator = self.known_operator
        if operator is None:
            return images, images, masks
        y = operator.forward(images) if config.measurements else images
        if masks is not None and not config.measurements:
            operator = Within(operator, masks[0])
        x = self._first_estimate(operator, y, noise)
        if config.last_adds == "input" and x.shape != y.shape:
            raise UserError(
                f"last_adds is 'input', but the operator makes images {x.shape} of measurements"
                f" {y.shape}; set last_adds to 'estimate'"
            )
        return x, y, masks

    def _start_from(self, y: Any, shape: tuple[int, ...], noise: Any) -> tuple[Array, Any, Masks]:
        """As `start`, from the measurement of images of a shape."""
        check_images(self.config, shape, np.dtype(np.float32))
        dtype = self._image_dtype(jnp.float32)

        def cast(leaf: Array) -> Array:
            is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
            return leaf.astype(jnp.result_type(dtype, jnp.complex64) if is_complex else dtype)

        y = jax.tree.map(lambda leaf: cast(jnp.asarray(leaf)), y)
        operator: Any = self.known_operator
        x = self._first_estimate(operator, y, noise).astype(dtype)
        like = jax.tree.leaves(_as_image(operator, y))
        same = len(like) == 1 and like[0].shape == x.shape and like[0].dtype == x.dtype
        if self.config.last_adds == "input" and not same:
            raise UserError(
                f"last_adds is 'input', but the operator makes images {x.shape} of measurements"
                f" {[leaf.shape for leaf in like]}; set last_adds to 'estimate'"
            )
        return x, y, None

    def _first_estimate(self, operator: Any, y: Any, noise: Any) -> Array:
        damping = 0 if noise is None else noise_damping(jnp.ravel(noise))
        return first_estimate(operator, y, self.config.start_steps, damping)

    def shared(self, masks: Masks, noise: Any = None) -> Shared:
        """What all stages use."""
        if (noise is not None) != self.config.noise_input:
            raise UserError(
                "the network is told no noise; leave it out, or set noise_input"
                if noise is not None
                else "the network must be told the noise (noise_input); give its σ"
            )
        learned = self.config.degradation in ("learned", "tied")
        noise = None if noise is None else jnp.asarray(noise).reshape(-1, 1, 1, 1)
        if noise is not None and self.config.implicit_steps:
            divisor = noise_damping(noise)
        else:
            # Once for all stages: the norm of a matrix costs as much as a stage.
            norm = None if self.config.measurements else method(self.known_operator, "squared_norm")
            divisor = None if norm is None else norm()
        return Shared(
            operator_slope=self.operator_slope if learned else None,
            attention_slope=self.attention_slope,
            operator=self.known_operator,
            masks=masks,
            divisor=divisor,
            noise=noise,
        )

    @property
    def known_operator(self) -> Operator | None:
        """The degradation where it is given by mathematics."""
        if self.config.measurements:
            return SamplingMatrix(self.sampling_matrix)
        return as_pytree(self.operator)

    def _image_dtype(self, dtype):
        """Estimates stay in float32 at least: bfloat16 would cost more than the stages correct."""
        wide = jnp.promote_types(jnp.promote_types(dtype, self.attention_slope.dtype), jnp.float32)
        if self.config.dtype is None:
            return wide
        return jnp.promote_types(jnp.dtype(self.config.dtype), jnp.float32)


def _as_image(operator: Any, y: Any) -> Any:
    """Return a measurement in the size of the network's images, if it has that of a part."""
    is_image = isinstance(operator, Cropped) and getattr(y, "shape", ())[1:3] == operator.size
    return operator.extended(y) if is_image else y


def _xavier_normal(key, shape, dtype=jnp.float32):
    """N(0, 2 / (rows + columns)) (Glorot and Bengio, 2010), drawn flat like the other weights."""
    scale = math.sqrt(2 / sum(shape))
    return scale * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def _run_stage(y, shared):
    def run(stage: Stage, x: Array, memory: Memory | None):
        return stage(x, memory, y, shared)

    return run


def make_masks(shape: tuple[int, ...], sizes: Array) -> Masks:
    """Masks (N, H/2ⁱ, W/2ⁱ, 1) at the four scales for images of `sizes` in an array of `shape`."""
    n, height, width, _ = shape
    sizes = jnp.asarray(sizes).reshape(n, 1, 1, 1, 2)

    def mask(scale):
        rows = jnp.arange(height >> scale).reshape(1, -1, 1, 1)
        columns = jnp.arange(width >> scale).reshape(1, 1, -1, 1)
        return (rows < sizes[..., 0] >> scale) & (columns < sizes[..., 1] >> scale)

    return tuple(mask(scale) for scale in range(NUM_SCALES + 1))
