"""Random weights: a program takes as long with them as with trained ones."""

import math
from typing import Any

import jax
import numpy as np

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.parameters import abstract_params


def random_params(config: DGUNetConfig) -> dict[str, Any]:
    """Random weights that keep the scale of features. NumPy's, as the model's compile slowly."""
    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name.startswith(("kernel", "sampling")):
            fan_in = math.prod(leaf.shape[-4:-1])
            return rng.standard_normal(leaf.shape, np.float32) / math.sqrt(2 * fan_in)
        constant = {"step_size": 0.5, "scale": 1.0, "bias": 0.0}.get(name, 0.25)
        return np.full(leaf.shape, constant, np.float32)

    return jax.tree.map_with_path(draw, abstract_params(config))


def count_params(config: DGUNetConfig) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))
