"""What the tests of training share."""

import pytest

import dgunet_jax
from tests.small import network


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights to begin with: drawing them takes longer to compile than a test."""
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    dgunet_jax.save(path, *network(width=4, growth=2, last_growth=2))
    return str(path)
