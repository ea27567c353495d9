"""Images on which answers are known to 1e-5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis.closed_forms import SHAPE, LinearNetwork, linear, stage


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def images(double) -> tuple[jax.Array, jax.Array]:
    """Two images and two measurements, in float64."""
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.random((2, *SHAPE))), jnp.asarray(rng.random((2, 20)))


@pytest.fixture
def chain() -> tuple[LinearNetwork, jax.Array]:
    """x ↦ s (x − ρ(x − y)) three times: all derivatives are known."""
    identity = linear(np.eye(16), (4, 4, 1))
    stages = tuple(stage(identity, 0.5, scale) for scale in (0.8, 0.5, 2.0))
    return LinearNetwork(stages), jnp.linspace(0.1, 0.9, 16).reshape(1, 4, 4, 1)
