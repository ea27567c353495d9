"""Every family of networks and every choice of a configuration, as small networks."""

import dataclasses
import functools
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.models.config import VARIANTS
from dgunet_jax.models.network import DGUNet
from tests.quick import compiler_options
from tests.small import network

PLUS: dict[str, Any] = {
    "share_middle": False,
    "last_growth": 0,
    "last_merge": "subspace",
    "own_attention_slopes": False,
}
SENSING: dict[str, Any] = {
    **{name: getattr(VARIANTS["cs"], name) for name in ("channels", "degradation", "last_adds")},
    **{name: getattr(VARIANTS["cs"], name) for name in ("memory", "merge", "attention")},
    "measurements": 103,
}
CHOICES: dict[str, dict[str, Any]] = {
    "dgunet": {},
    "plus": PLUS,
    "sensing": SENSING,
    "sensing_plus": {**SENSING, "share_middle": False},
    "sensing_blocks": {**SENSING, "blockwise": True},
    "tied": {"degradation": "tied"},
    "identity": {"degradation": "identity"},
    "no_degradation": {"degradation": "none"},
    "known": {"degradation": "known"},
    "no_memory": {"memory": "none"},
    "no_memory_scale": {"memory_scales": ()},
    "additive_memory": {"memory": "additive"},
    "finest_memory": {"memory_scales": (0,)},
    "coarsest_memory": {"memory_scales": (2,)},
    "concat": {"merge": "concat"},
    "last_subspace": {"last_merge": "subspace", "last_growth": 0},
    "gated": {"attention": "gated"},
    "last_adds_estimate": {"last_adds": "estimate"},
    "one_slope": {"own_attention_slopes": False},
    "two_stages": {"num_stages": 2},
    "grey": {"channels": 1},
    "window": {"window": 16},
}


@flax.struct.dataclass
class Smear:
    """Every pixel mixed with its left neighbour, which at the edge is black."""

    weight: jax.Array
    zero_extends: ClassVar[bool] = True

    def forward(self, x):
        neighbour = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        return (1 - self.weight) * x + self.weight * neighbour

    def adjoint(self, r, at):
        neighbour = jnp.pad(r, ((0, 0), (0, 0), (0, 1), (0, 0)))[:, :, 1:]
        return (1 - self.weight) * r + self.weight * neighbour

    def start(self, y):
        return y


@flax.struct.dataclass
class Cross:
    """Every pixel mixed with its four neighbours; beyond the border it is black, or circular.

    It commutes with flips and rotations, and only with a black border with extension by zeros.
    """

    weight: jax.Array
    circular: bool = flax.struct.field(pytree_node=False, default=False)

    @property
    def zero_extends(self) -> bool:
        return not self.circular

    def forward(self, x):
        border = ((0, 0), (1, 1), (1, 1), (0, 0))
        wide = jnp.pad(x, border, mode="wrap" if self.circular else "constant")
        neighbours = wide[:, 2:, 1:-1] + wide[:, :-2, 1:-1] + wide[:, 1:-1, 2:] + wide[:, 1:-1, :-2]
        return (1 - self.weight) * x + self.weight / 4 * neighbours

    def adjoint(self, r, at):
        return self.forward(r)

    def start(self, y):
        return y


def make(name: str, seed: int = 0, **more: Any) -> tuple[DGUNet, dict[str, Any]]:
    """A model and variables of one of the choices, with more of them."""
    choices = {**CHOICES[name], **more}
    if name != "known":
        return network(seed, **choices)
    # A known operator has the weights of the identity: none.
    model, variables = network(seed, **{**choices, "degradation": "identity"})
    config = dataclasses.replace(model.config, degradation="known")
    return DGUNet(config, operator=Smear(jnp.asarray(0.3))), variables


def images(*shape: int, seed: int = 0) -> Any:
    """Noise in [0, 1) as a NumPy array, which JAX's functions take for their own."""
    return np.random.default_rng(seed).random(shape, np.float32)


def estimates(model: DGUNet, variables: Any, x: Any, sizes: Any = None) -> jax.Array:
    """The estimates of all stages."""
    restored: Any = model.apply(variables, x, sizes)
    return restored.stages


def run(model: DGUNet, variables: Any, x: Any, sizes: Any = None) -> np.ndarray:
    """`estimates`, quickly compiled."""
    # Not a static argument: a model with an operator that has arrays cannot be hashed.
    compiled = jax.jit(functools.partial(estimates, model), compiler_options=compiler_options())
    return np.asarray(compiled(variables, x, sizes))
