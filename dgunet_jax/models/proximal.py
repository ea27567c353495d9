"""The proximal step's networks: encoder, decoder, supervised attention and merge."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.models import blocks, subspace
from dgunet_jax.models.config import NUM_BASIS, DGUNetConfig
from dgunet_jax.models.convolution import shared

Array = jax.Array
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


def at_scale(masks: Masks, scale: int) -> blocks.Mask:
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
            x = blocks.UNetBlock(channels, norm=True, name=f"block_{i}")(x, mask)
            if memory is not None and memory.encoder[i] is not None:
                modulate = blocks.Modulation(config.memory == "adaptive", name=f"memory_{i}")
                x = modulate(x, memory.encoder[i], memory.decoder[i], mask)
            kept.append(x)
            down = blocks.Conv(channels, size=4, stride=2, use_bias=False, name=f"down_{i}")
            x = down(x, at_scale(masks, i + 1))
        bottleneck = blocks.UNetBlock(x.shape[-1], norm=True, name=f"block_{NUM_SCALES}")
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
            up = blocks.Upsample(channels, name=f"up_{i}")(x, mask)
            skip = blocks.Conv(channels, name=f"skip_{i}")(kept[i], mask)
            x = shared(jnp.concatenate([up, skip], -1))
            x = blocks.UNetBlock(channels, norm=False, name=f"block_{i}")(x, mask)
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
        estimate = v + blocks.Conv(v.shape[-1], size=1, use_bias=False, name="image")(f)
        features = blocks.Conv(f.shape[-1], size=1, use_bias=False, name="features")(f)
        if self.gated:
            gate = blocks.Conv(f.shape[-1], size=1, use_bias=False, name="gate")
            features = features * nn.sigmoid(gate(estimate.astype(f.dtype)))
        return f + features, estimate


class SubspaceMerge(nn.Module):
    """x + conv([x, z']), z' the projection of z onto the span of 16 maps conv([x, z])."""

    @nn.compact
    def __call__(self, x: Array, z: Array, mask: blocks.Mask) -> Array:
        basis = blocks.Conv(NUM_BASIS, name="basis")(jnp.concatenate([x, z], -1), mask)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        projected = subspace.project(basis.astype(wide), z.astype(wide)).astype(x.dtype)
        return x + blocks.Conv(x.shape[-1], name="fuse")(jnp.concatenate([x, projected], -1), mask)


class Concatenation(nn.Module):
    """conv([x, z]) to any number of channels, without bias."""

    features: int

    @nn.compact
    def __call__(self, x: Array, z: Array, mask: blocks.Mask) -> Array:
        fuse = blocks.Conv(self.features, use_bias=False, name="fuse")
        return fuse(jnp.concatenate([x, z], -1), mask)
