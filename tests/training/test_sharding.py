import json
import os
import subprocess
import sys

import pytest

from tests.quick import devices


@pytest.fixture(scope="module")
def found():
    environment = os.environ | {"XLA_FLAGS": devices(8)}
    words = [sys.executable, "-m", "tests.training.sharded"]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["rolled", "accumulated"])
def test_eight_devices_compute_the_gradient_of_one(found, kind):
    assert found["devices"] == 8
    assert found[kind]["gradient"] < 1e-5
    assert found[kind]["losses"] < 1e-5
    assert found[kind]["psnr"] < 1e-3


@pytest.mark.parametrize("kind", ["rolled", "accumulated"])
def test_one_all_reduce_of_gradient_and_metrics_outside_every_loop(found, kind):
    ((name, size, in_loop),) = found[kind]["collectives"]
    assert name == "all-reduce"
    assert not in_loop
    metrics = 4 + 4 + 1 + 2 + 4  # losses, PSNR of stages and input, gain and count, finite stages
    full = 4 * (found["parameters"] + metrics)
    assert size == full
