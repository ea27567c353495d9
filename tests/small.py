"""A network small enough to run in a test, with weights that need no compilation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import abstract_params

CONFIG = DGUNetConfig(width=8, growth=4, last_growth=4, num_stages=3)


def network(seed: int = 0, **choices: Any) -> tuple[DGUNet, dict[str, Any]]:
    """A model and seeded variables of a moderate size."""
    config = dataclasses.replace(CONFIG, **choices)
    rng = np.random.default_rng(seed)

    def draw(leaf):
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        values = rng.standard_normal(leaf.shape) * 0.6 / np.sqrt(fan_in)
        return jnp.asarray(values if leaf.ndim > 1 else 0.2 + 0.1 * values, jnp.float32)

    return DGUNet(config), {"params": jax.tree.map(draw, abstract_params(config))}


def equal(a: Any, b: Any) -> bool:
    """Whether two trees are the same, bit for bit."""
    same = jax.tree.structure(a) == jax.tree.structure(b)
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return same and all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)
