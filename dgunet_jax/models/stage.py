"""One stage of the unfolding: a gradient step, then a proximal step."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from dgunet_jax.models import blocks, proximal
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.convolution import kernels
from dgunet_jax.models.proximal import Masks, Memory
from dgunet_jax.operators.gradient import Operator, gradient_step, zero_extends
from dgunet_jax.operators.known import Identity, Within, from_blocks, to_blocks
from dgunet_jax.operators.learned import LearnedPair, OperatorNetwork, TiedPair
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
    """

    operator_slope: Any
    attention_slope: Array
    operator: Any
    masks: Masks


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
        self.shallow = blocks.ShallowFeatures(config.width)
        if not first:
            merge = config.last_merge if last else config.merge
            wider = config.last_growth if last else 0
            self.merge = (
                proximal.SubspaceMerge()
                if merge == "subspace"
                else proximal.Concatenation(config.width + wider)
            )
        if last:
            self.tail = blocks.Conv(config.channels, use_bias=False)
        else:
            self.encoder = proximal.Encoder(config)
            self.decoder = proximal.Decoder(config)
            self.attention = proximal.SupervisedAttention(config.attention == "gated")

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
        mask, slope = proximal.at_scale(shared.masks, 0), shared.operator_slope
        forward = self.forward_network(slope, mask)
        if self.config.degradation == "tied":
            return TiedPair(forward)
        return LearnedPair(forward, self.adjoint_network(slope, mask))

    def gradient(self, x: Array, y: Array, shared: Shared) -> Array:
        """v = x − ρ Φᵀ(Φ(x) − y)."""
        if self.config.degradation == "none":
            return x
        operator = self.operator(shared)
        step_size = self.step_size.astype(x.dtype)
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
        x = blocks.masked(from_blocks(x, *v.shape[1:3]), proximal.at_scale(shared.masks, 0))
        return x, memory

    def _proximal(self, v, memory, y, shared):
        config = self.config
        compute = v.dtype if config.dtype is None else jnp.dtype(config.dtype)
        mask = proximal.at_scale(shared.masks, 0)
        owner = self if self.position == "middle" and config.own_attention_slopes else shared

        features = self.shallow(v.astype(compute), owner.attention_slope, mask)
        if memory is not None:
            features = self.merge(features, memory.attention, mask)
        if self.position == "last":
            base = y if config.last_adds == "input" else v
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
