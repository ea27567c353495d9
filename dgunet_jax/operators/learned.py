"""Operators that are small networks, for degradations nobody has written down."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from dgunet_jax.models import blocks
from dgunet_jax.models.convolution import convolve

Array = jax.Array

_HIDDEN = 64  # channels between the two convolutions


class OperatorNetwork(nn.Module):
    """x + conv3×3(PReLU(conv3×3(x))), C → 64 → C."""

    channels: int
    dtype: str | None

    def setup(self):
        for i, (fan_in, fan_out) in enumerate(
            ((self.channels, _HIDDEN), (_HIDDEN, self.channels)), 1
        ):
            init = blocks.uniform_by_fan_in(9 * fan_in)
            kernel = self.param(f"kernel_{i}", init, (3, 3, fan_in, fan_out))
            bias = self.param(f"bias_{i}", init, (fan_out,))
            setattr(self, f"layer_{i}", (kernel, bias))

    def __call__(self, slope: Array, mask: blocks.Mask) -> Callable[[Array], Array]:
        """The operator with its weights bound, a pure function of an image (N, H, W, C)."""
        layers = self.layer_1, self.layer_2

        def operator(x: Array) -> Array:
            compute = x.dtype if self.dtype is None else jnp.dtype(self.dtype)
            (kernel_1, bias_1), (kernel_2, bias_2) = jax.tree.map(
                lambda a: a.astype(compute) if a.ndim == 4 else a.astype(compute)[None, None, None],
                layers,
            )
            h = convolve(blocks.masked(x.astype(compute), mask), kernel_1) + bias_1
            h = blocks.masked(blocks.prelu(h, slope), mask)
            # Masked as well, so that the transposed Jacobian takes nothing from outside either.
            return x + blocks.masked(convolve(h, kernel_2) + bias_2, mask)

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
