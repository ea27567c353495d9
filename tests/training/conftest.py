"""Runs in this folder compile the same programs again and again; here they do so once."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

import dgunet_jax
from tests.small import network


@pytest.fixture(scope="package", autouse=True)
def compile_once(tmp_path_factory):
    before = {
        name: getattr(jax.config, name)
        for name in ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
    }
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("cache")))
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights to begin with: drawing them takes longer to compile than a test."""
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    dgunet_jax.save(path, *network(width=4, growth=2, last_growth=2))
    return str(path)
