"""The weights of a network as a tree: shapes, names, and what is wrong with a given one."""

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet
from dgunet_jax.system.errors import UserError, counted, named

_MOST_PROBLEMS = 20  # in a message


def without_operator(config: DGUNetConfig) -> DGUNetConfig:
    """Return a configuration of the same weights that needs no operator."""
    if config.takes_operator:
        return dataclasses.replace(config, degradation="identity", start_steps=0, implicit_steps=0)
    return config


def abstract_params(config: DGUNetConfig) -> dict[str, Any]:
    """The parameter tree of a network as shapes and dtypes, without computing anything.

    A known operator has no weights: the tree is the same with any.
    """
    # However it is executed, and for users with one network after another, traced once.
    config = dataclasses.replace(without_operator(config), unroll=1, remat=False, kernels="plain")
    return jax.tree.map(lambda leaf: leaf, _abstract(config, jnp.result_type(float) == jnp.float64))


@functools.lru_cache(maxsize=64)
def _abstract(config: DGUNetConfig, wide: bool) -> dict[str, Any]:
    """`wide`: whether JAX makes float64 by default, which the types depend on."""
    return jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))


def init_params(config: DGUNetConfig, key: jax.Array) -> Any:
    """Return the weights before training."""
    config = without_operator(config)
    images = jnp.zeros((1, config.multiple, config.multiple, config.channels))
    noise = 0.0 if config.noise_input else None
    return DGUNet(config).init(key, images, noise=noise)["params"]


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter tree as one dict, names joined by dots: `first.shallow.conv.kernel`."""
    return flax.traverse_util.flatten_dict(params, sep=".")


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    return flax.traverse_util.unflatten_dict(dict(flat), sep=".")


@functools.lru_cache(maxsize=8)
def shapes_of(config: DGUNetConfig) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every array of a network, by the names that `flatten` gives."""
    flat = flatten(abstract_params(config))
    return types.MappingProxyType({name: leaf.shape for name, leaf in flat.items()})


def mismatches(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return what is missing, unexpected or has another shape than expected, one entry each.

    Args:
      found: names to arrays.
      expected: names to shapes.
    """
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {named(name)}" for name in found if name not in expected]
    return problems + [
        f"{name} has shape {np.shape(found[name])}, not {shape}"
        for name, shape in expected.items()
        if name in found and np.shape(found[name]) != shape
    ]


def wrong(what: str, problems: list[str]) -> UserError:
    """Return the error, of one line, that names what is wrong with tensors or leaves."""
    told = "; ".join(problems[:_MOST_PROBLEMS])
    more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
    return UserError(f"{counted(len(problems), f'wrong {what}')}: {told}{more}")
