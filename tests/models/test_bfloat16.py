"""Training with features in bfloat16: what is kept in float32, and how close its gradient is."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax import DGUNet
from dgunet_jax.training.losses import stage_losses
from tests.quick import compiler_options
from tests.small import network

INPUTS = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
TARGETS = np.roll(INPUTS, 1, axis=1)


def gradient(model: DGUNet, variables: Any, **choices: Any) -> tuple[jax.Array, Any]:
    """The loss of all stages and its gradient."""
    changed = DGUNet(dataclasses.replace(model.config, **choices))

    def loss(params):
        restored: Any = changed.apply({"params": params}, INPUTS)
        return jnp.sum(stage_losses("charbonnier_edge", restored.stages, TARGETS))

    compiled = jax.jit(jax.value_and_grad(loss), compiler_options=compiler_options())
    return compiled(variables["params"])


def norm(tree: Any) -> float:
    return float(np.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree))))


@pytest.mark.parametrize(
    ("num_stages", "share_middle", "remat"),
    [(2, True, True), (4, False, False)],
)
def test_gradient_in_bfloat16(num_stages: int, share_middle: bool, remat: bool):
    model, variables = network(num_stages=num_stages, share_middle=share_middle)
    exact, expected = gradient(model, variables)
    loss, found = gradient(model, variables, dtype="bfloat16", remat=remat)
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, found))} == {np.dtype("float32")}
    # Eight bits of mantissa: it is close, and it is not the same.
    np.testing.assert_allclose(loss, exact, rtol=1e-3)
    difference = norm(jax.tree.map(jnp.subtract, found, expected)) / norm(expected)
    assert 1e-3 < difference < 0.05
