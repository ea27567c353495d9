"""What the tests of training share."""

import os
import signal

import pytest

import dgunet_jax
from dgunet_jax.training import loop
from tests.small import network


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights to begin with: drawing them takes longer to compile than a test."""
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    dgunet_jax.save(path, *network(width=4, growth=2, last_growth=2))
    return str(path)


@pytest.fixture
def stopped(monkeypatch):
    """Train until the process is asked to stop, while step 3 is reported."""
    original = loop.Progress.show

    def show(self, step, metrics, throughput):
        original(self, step, metrics, throughput)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    def train(config, workdir):
        with monkeypatch.context() as patch:
            patch.setattr(loop.Progress, "show", show)
            return loop.train(config, workdir)

    return train
