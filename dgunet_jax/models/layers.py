"""The parts of a stage: blocks, the proximal network, learned degradations."""

import dataclasses
import math
from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dgunet_jax.models import subspace
from dgunet_jax.models.config import NUM_BASIS, DGUNetConfig
from dgunet_jax.models.convolution import convolve, shared, upsample

Array = jax.Array
Mask = Array | None

_INSTANCE_NORM_EPSILON = 1e-5


def masked(x: Array, mask: Mask) -> Array:
    """`x` with zeros outside the picture."""
    return x if mask is None else jnp.where(mask, x, 0)


def spatial_mean(x: Array, mask: Mask) -> Array:
    """Mean over the picture's pixels, (N, 1, 1, C), in float32 or wider."""
    x = masked(x.astype(jnp.promote_types(x.dtype, jnp.float32)), mask)
    if mask is None:
        return jnp.mean(x, (1, 2), keepdims=True)
    count = jnp.sum(mask, (1, 2), keepdims=True, dtype=x.dtype)
    return jnp.sum(x, (1, 2), keepdims=True) / jnp.maximum(count, 1)


def local_mean(x: Array, mask: Mask, window: int) -> Array:
    """Mean over the square of `window` pixels around each pixel, (N, H, W, C), as `spatial_mean`.

    Near a border the square is moved into the picture, and it is no larger than that. Its sums are
    made of those of two halves, so that they cost a few additions and round like a tree of them.
    """
    mean = masked(x.astype(jnp.promote_types(x.dtype, jnp.float32)), mask)
    for axis in (1, 2):
        size = None if mask is None else jnp.sum(jnp.any(mask, 3 - axis, keepdims=True), axis)
        mean = _mean_along(mean, axis, min(window, x.shape[axis]), size)
    return mean


def _mean_along(x: Array, axis: int, window: int, size: Array | None) -> Array:
    """Means of `window` neighbours; `size` (N, 1, 1) says how many there are in a row."""
    length = x.shape[axis]
    places, sums, done = length - window + 1, None, 0
    power, left, width = x, window, 1
    while left:
        if left & 1:
            part = lax.slice_in_dim(power, done, done + places, axis=axis)
            sums = part if sums is None else sums + part
            done += width
        if left := left >> 1:
            most = power.shape[axis]
            power = lax.slice_in_dim(power, 0, most - width, axis=axis) + lax.slice_in_dim(
                power, width, most, axis=axis
            )
            width *= 2
    assert sums is not None
    before = window // 2
    if size is None:
        pads = [(0, 0)] * x.ndim
        pads[axis] = before, length - places - before
        return jnp.pad(sums, pads, mode="edge") / window
    size = jnp.expand_dims(size, axis)  # (N, 1, 1, 1)
    along = [1] * x.ndim
    along[axis] = length
    first = np.arange(length).reshape(along) - before
    first = jnp.clip(first, 0, jnp.maximum(size - window, 0))
    return jnp.take_along_axis(sums, first, axis) / jnp.clip(size, 1, window)


def prelu(x: Array, slope: Array) -> Array:
    return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


def uniform_by_fan_in(fan_in: int) -> nn.initializers.Initializer:
    """U(−1/√fan_in, 1/√fan_in), PyTorch's default for the weights and biases of convolutions."""

    def init(key, shape, dtype=jnp.float32):
        bound = 1 / math.sqrt(fan_in)
        # Drawn flat: XLA's CPU backend takes seconds to compile a draw of a four-dimensional shape.
        flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
        return flat.reshape(shape)

    return init


class Conv(nn.Module):
    """Convolution, zero padded to keep the size (stride 1) or halve it (4×4, stride 2).

    The `mask` is that of its output.
    """

    features: int
    size: int = 3
    stride: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array, mask: Mask = None) -> Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        init = uniform_by_fan_in(self.size**2 * x.shape[-1])
        kernel = self.param("kernel", init, shape).astype(x.dtype)
        out = convolve(x, kernel, self.stride)
        if self.use_bias:
            bias = self.param("bias", init, (self.features,)).astype(x.dtype)
            out = out + jnp.reshape(bias, (1, 1, 1, -1))
        elif self.size == 1:
            return out  # zero where x is
        return masked(out, mask)


class Upsample(nn.Module):
    """2×2 transposed convolution of stride 2, with bias."""

    features: int

    @nn.compact
    def __call__(self, x: Array, mask: Mask) -> Array:
        init = uniform_by_fan_in(4 * self.features)
        kernel = self.param("kernel", init, (2, 2, x.shape[-1], self.features))
        bias = self.param("bias", init, (self.features,))
        out = upsample(x, kernel.astype(x.dtype))
        return masked(out + jnp.reshape(bias.astype(x.dtype), (1, 1, 1, -1)), mask)


class ChannelAttention(nn.Module):
    """x + b · σ(W₂ relu(W₁ mean(b))), b = conv(PReLU(conv(x))); W₁ reduces the channels by 4.

    The mean is that of the picture, or of the `window` around each pixel.
    """

    window: int = 0

    @nn.compact
    def __call__(self, x: Array, slope: Array, mask: Mask) -> Array:
        channels = x.shape[-1]
        body = prelu(Conv(channels, use_bias=False, name="conv_1")(x, mask), slope)
        body = Conv(channels, use_bias=False, name="conv_2")(body, mask)
        mean = local_mean(body, mask, self.window) if self.window else spatial_mean(body, mask)
        weight = mean.astype(x.dtype)
        weight = nn.relu(Conv(channels // 4, size=1, use_bias=False, name="squeeze")(weight))
        weight = nn.sigmoid(Conv(channels, size=1, use_bias=False, name="excite")(weight))
        return x + body * weight


class ShallowFeatures(nn.Module):
    """Image to features: a convolution and a channel attention block."""

    features: int
    window: int = 0

    @nn.compact
    def __call__(self, image: Array, slope: Array, mask: Mask) -> Array:
        x = Conv(self.features, use_bias=False, name="conv")(image, mask)
        return ChannelAttention(self.window, name="attention")(x, slope, mask)


class HalfInstanceNorm(nn.Module):
    """Instance normalisation of the first half of the channels, (h − mean) / √(var + 1e-5) · scale
    + bias; the others stay.

    Mean and variance are those of the picture, or of the `window` around each pixel.
    """

    window: int = 0

    @nn.compact
    def __call__(self, h: Array, mask: Mask) -> Array:
        half = h.shape[-1] // 2
        scale = self.param("scale", nn.initializers.ones, (half,))
        bias = self.param("bias", nn.initializers.zeros, (half,))
        wide = h.astype(jnp.promote_types(h.dtype, jnp.float32))
        mean = spatial_mean(wide[..., :half], mask)
        centred = wide[..., :half] - mean
        if self.window:
            # Without the picture's mean, squares cancel less.
            near = local_mean(centred, mask, self.window)
            variance = local_mean(jnp.square(centred), mask, self.window) - jnp.square(near)
            mean, variance = mean + near, jnp.maximum(variance, 0)
        else:
            variance = spatial_mean(jnp.square(centred), mask)
        scale, bias = (jnp.broadcast_to(a.astype(wide.dtype), mean.shape) for a in (scale, bias))
        scale = scale * lax.rsqrt(variance + _INSTANCE_NORM_EPSILON)
        # One shift and scale for all channels is one pass over h; the second half is shifted by 0
        # and scaled by 1.
        rest = jnp.zeros_like(mean, shape=(*mean.shape[:3], h.shape[-1] - half))
        mean, scale, bias = (
            jnp.concatenate([first, second], -1)
            for first, second in ((mean, rest), (scale, rest + 1), (bias, rest))
        )
        return masked((wide - mean) * scale + bias, mask).astype(h.dtype)


class Modulation(nn.Module):
    """How an encoder block takes up the previous stage's memory (e, d) of its scale.

    adaptive: m = leakyReLU_0.1(conv(e) + conv(d)), out · σ(conv(m)) + conv(m) + out;  additive: out
      + conv(e) + conv(d).
    """

    adaptive: bool

    @nn.compact
    def __call__(self, out: Array, encoder: Array, decoder: Array, mask: Mask) -> Array:
        channels = out.shape[-1]
        memory = Conv(channels, name="encoder")(encoder, mask)
        memory = memory + Conv(channels, name="decoder")(decoder, mask)
        if not self.adaptive:
            return out + memory
        memory = nn.leaky_relu(memory, 0.1)
        scale = nn.sigmoid(Conv(channels, name="scale")(memory, mask))
        return out * scale + Conv(channels, name="shift")(memory, mask) + out


class UNetBlock(nn.Module):
    """h = conv(x), half instance-normalised in the encoder, leaky-ReLU 0.2, conv, leaky-ReLU 0.2;
    out = h + conv1×1(x)."""

    features: int
    norm: bool
    window: int = 0

    @nn.compact
    def __call__(self, x: Array, mask: Mask) -> Array:
        h = Conv(self.features, name="conv_1")(x, mask)
        if self.norm:
            h = HalfInstanceNorm(self.window, name="norm")(h, mask)
        h = Conv(self.features, name="conv_2")(nn.leaky_relu(h, 0.2), mask)
        return nn.leaky_relu(h, 0.2) + Conv(self.features, size=1, name="identity")(x, mask)


Masks = tuple[Array, ...] | None
"""Which pixels belong to the picture, at the four scales, finest first."""

NUM_SCALES = 3  # halvings


@flax.struct.dataclass
class Memory:
    """What a stage hands to the next, finest scale first.

    With `blockwise` it is that of the blocks: N is their number, H and W are 32.

    Attributes:
      encoder: features before each downsampling, (N, H/2ⁱ, W/2ⁱ, n + s(i+1)); None at scales that
        are not used.
      decoder: outputs of the decoder, (N, H/2ⁱ, W/2ⁱ, n + s·i); None at scales that are not used.
      attention: supervised attention features, (N, H, W, n).
    """

    encoder: tuple[Array | None, ...]
    decoder: tuple[Array | None, ...]
    attention: Array


def at_scale(masks: Masks, scale: int) -> Mask:
    return None if masks is None else masks[scale]


class Encoder(nn.Module):
    """Features to (the bottleneck's features, the features before each of the three
    downsamplings)."""

    config: DGUNetConfig

    @nn.compact
    def __call__(self, x: Array, memory: Memory | None, masks: Masks) -> tuple[Array, list[Array]]:
        config = self.config
        kept = []
        for i in range(NUM_SCALES):
            mask, channels = at_scale(masks, i), config.width + config.growth * (i + 1)
            x = UNetBlock(channels, True, config.window >> i, name=f"block_{i}")(x, mask)
            if memory is not None and memory.encoder[i] is not None:
                modulate = Modulation(config.memory == "adaptive", name=f"memory_{i}")
                x = modulate(x, memory.encoder[i], memory.decoder[i], mask)
            kept.append(x)
            down = Conv(channels, size=4, stride=2, use_bias=False, name=f"down_{i}")
            x = down(x, at_scale(masks, i + 1))
        window = config.window >> NUM_SCALES
        bottleneck = UNetBlock(x.shape[-1], True, window, name=f"block_{NUM_SCALES}")
        return bottleneck(x, at_scale(masks, NUM_SCALES)), kept


class Decoder(nn.Module):
    """The bottleneck's features and the kept ones to the outputs of the three scales, finest
    first."""

    config: DGUNetConfig

    @nn.compact
    def __call__(self, x: Array, kept: list[Array], masks: Masks) -> list[Array]:
        outputs = []
        for i in reversed(range(NUM_SCALES)):
            mask, channels = at_scale(masks, i), self.config.width + self.config.growth * i
            up = Upsample(channels, name=f"up_{i}")(x, mask)
            skip = Conv(channels, name=f"skip_{i}")(kept[i], mask)
            x = shared(jnp.concatenate([up, skip], -1))
            x = UNetBlock(channels, norm=False, name=f"block_{i}")(x, mask)
            outputs.insert(0, x)
        return outputs


class SupervisedAttention(nn.Module):
    """Decoder features f and the gradient step's image v to (attention features, estimate v +
    conv1×1(f)).

    The features are f + conv1×1(f), or f + conv1×1(f) · σ(conv1×1(estimate)) when gated.
    """

    gated: bool

    @nn.compact
    def __call__(self, f: Array, v: Array) -> tuple[Array, Array]:
        estimate = v + Conv(v.shape[-1], size=1, use_bias=False, name="image")(f)
        features = Conv(f.shape[-1], size=1, use_bias=False, name="features")(f)
        if self.gated:
            gate = Conv(f.shape[-1], size=1, use_bias=False, name="gate")
            features = features * nn.sigmoid(gate(estimate.astype(f.dtype)))
        return f + features, estimate


class SubspaceMerge(nn.Module):
    """x + conv([x, z']), z' the projection of z onto the span of 16 maps conv([x, z])."""

    @nn.compact
    def __call__(self, x: Array, z: Array, mask: Mask) -> Array:
        basis = Conv(NUM_BASIS, name="basis")(jnp.concatenate([x, z], -1), mask)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        projected = subspace.project(basis.astype(wide), z.astype(wide)).astype(x.dtype)
        return x + Conv(x.shape[-1], name="fuse")(jnp.concatenate([x, projected], -1), mask)


class Concatenation(nn.Module):
    """conv([x, z]) to any number of channels, without bias."""

    features: int

    @nn.compact
    def __call__(self, x: Array, z: Array, mask: Mask) -> Array:
        fuse = Conv(self.features, use_bias=False, name="fuse")
        return fuse(jnp.concatenate([x, z], -1), mask)


_HIDDEN = 64  # channels between the two convolutions


class OperatorNetwork(nn.Module):
    """x + conv3×3(PReLU(conv3×3(x))), C → 64 → C."""

    channels: int
    dtype: str | None

    def setup(self):
        for i, (fan_in, fan_out) in enumerate(
            ((self.channels, _HIDDEN), (_HIDDEN, self.channels)), 1
        ):
            init = uniform_by_fan_in(9 * fan_in)
            kernel = self.param(f"kernel_{i}", init, (3, 3, fan_in, fan_out))
            bias = self.param(f"bias_{i}", init, (fan_out,))
            setattr(self, f"layer_{i}", (kernel, bias))

    def __call__(self, slope: Array, mask: Mask) -> Callable[[Array], Array]:
        """The operator with its weights bound, a pure function of an image (N, H, W, C)."""
        layers = self.layer_1, self.layer_2

        def operator(x: Array) -> Array:
            compute = x.dtype if self.dtype is None else jnp.dtype(self.dtype)
            (kernel_1, bias_1), (kernel_2, bias_2) = jax.tree.map(
                lambda a: a.astype(compute) if a.ndim == 4 else a.astype(compute)[None, None, None],
                layers,
            )
            h = convolve(masked(x.astype(compute), mask), kernel_1) + bias_1
            h = masked(prelu(h, slope), mask)
            # Masked as well, so that the transposed Jacobian takes nothing from outside either.
            return x + masked(convolve(h, kernel_2) + bias_2, mask)

        return operator


@dataclasses.dataclass(frozen=True)
class LearnedPair:
    """Φ and Φᵀ as two independent functions, neither linear nor adjoint by construction."""

    network: Callable[[Array], Array]
    transposed: Callable[[Array], Array]

    def forward(self, x: Array) -> Array:
        """Φ(x)."""
        return self.network(x)

    def adjoint(self, r: Array, at: Array) -> Array:
        """Φᵀ(r); the learned network does not look at `at`."""
        return self.transposed(r)

    def start(self, y: Array) -> Array:
        return y


@dataclasses.dataclass(frozen=True)
class TiedPair:
    """Φ learned, Φᵀ the transposed Jacobian of Φ at the estimate: a true gradient of ½‖Φ(x) −
    y‖²."""

    network: Callable[[Array], Array]

    def forward(self, x: Array) -> Array:
        """Φ(x)."""
        return self.network(x)

    def adjoint(self, r: Array, at: Array) -> Array:
        """J_Φ(at)ᵀ r."""
        return jax.vjp(self.network, at)[1](r)[0]

    def start(self, y: Array) -> Array:
        return y
