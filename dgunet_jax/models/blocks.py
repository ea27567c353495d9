"""The network's building blocks: convolution layers, attention, normalisation, encoder and decoder
blocks.

Everything is NHWC. A `mask` (N, H, W, 1), where given, tells which pixels belong to the picture.
What comes in is zero outside, and what goes out is made so, in the pass over the array that adds a
bias or normalises; convolutions, which are zero padded, then treat a picture in a larger array as
if it were alone. PReLU slopes are arguments: several blocks of the network share one.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from dgunet_jax.models.convolution import convolve, upsample

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
    """x + b · σ(W₂ relu(W₁ mean(b))), b = conv(PReLU(conv(x))); W₁ reduces the channels by 4."""

    @nn.compact
    def __call__(self, x: Array, slope: Array, mask: Mask) -> Array:
        channels = x.shape[-1]
        body = prelu(Conv(channels, use_bias=False, name="conv_1")(x, mask), slope)
        body = Conv(channels, use_bias=False, name="conv_2")(body, mask)
        weight = spatial_mean(body, mask).astype(x.dtype)
        weight = nn.relu(Conv(channels // 4, size=1, use_bias=False, name="squeeze")(weight))
        weight = nn.sigmoid(Conv(channels, size=1, use_bias=False, name="excite")(weight))
        return x + body * weight


class ShallowFeatures(nn.Module):
    """Image to features: a convolution and a channel attention block."""

    features: int

    @nn.compact
    def __call__(self, image: Array, slope: Array, mask: Mask) -> Array:
        x = Conv(self.features, use_bias=False, name="conv")(image, mask)
        return ChannelAttention(name="attention")(x, slope, mask)


class HalfInstanceNorm(nn.Module):
    """Instance normalisation of the first half of the channels, (h − mean) / √(var + 1e-5) · scale
    + bias; the others stay."""

    @nn.compact
    def __call__(self, h: Array, mask: Mask) -> Array:
        half = h.shape[-1] // 2
        scale = self.param("scale", nn.initializers.ones, (half,))
        bias = self.param("bias", nn.initializers.zeros, (half,))
        wide = h.astype(jnp.promote_types(h.dtype, jnp.float32))
        mean = spatial_mean(wide[..., :half], mask)
        variance = spatial_mean(jnp.square(wide[..., :half] - mean), mask)
        scale, bias = (jnp.broadcast_to(a.astype(wide.dtype), mean.shape) for a in (scale, bias))
        scale = scale * jax.lax.rsqrt(variance + _INSTANCE_NORM_EPSILON)
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

    @nn.compact
    def __call__(self, x: Array, mask: Mask) -> Array:
        h = Conv(self.features, name="conv_1")(x, mask)
        if self.norm:
            h = HalfInstanceNorm(name="norm")(h, mask)
        h = Conv(self.features, name="conv_2")(nn.leaky_relu(h, 0.2), mask)
        return nn.leaky_relu(h, 0.2) + Conv(self.features, size=1, name="identity")(x, mask)
