import json
import os
import subprocess
import sys

import pytest

from tests.quick import devices


@pytest.fixture(scope="module")
def found():
    environment = os.environ | {"XLA_FLAGS": devices(4)}
    words = [sys.executable, "-m", "tests.restoration.sharded"]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_pictures_on_four_devices_are_as_on_one(found):
    assert found["devices"] == 4
    assert set(found["height"]) == {"720×1280", "321×481", "1×1"}
    assert max(found["height"].values()) < 1e-5
    assert set(found["batch"]) == {"40×33", "1×1"}
    assert max(found["batch"].values()) < 1e-5


def test_devices_exchange_borders_and_sums_and_gather_nothing(found):
    assert found["collectives"] == ["all-reduce", "collective-permute"]


def test_the_estimate_for_each_device_is_what_it_takes_or_up_to_twice_that(found):
    assert 1 <= found["estimate / taken"] <= 2
