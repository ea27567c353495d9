"""Settings that hold for every test and for the processes tests start.

They are environment variables because JAX reads those when it is first imported, wherever that is:
tests that never touch JAX do not pay for importing it.
"""

import os
import shutil
import tempfile

import pytest

from tests.quick import xla_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = xla_flags()
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

_cache = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Compile a program once, however many tests and processes run it.

    Each worker of pytest-xdist has a cache of its own: JAX does not expect two processes to write
    one entry at the same time.
    """
    config.stash[_cache] = tempfile.mkdtemp(prefix="compiled-")
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = config.stash[_cache]


# Files that take longest, so that they do not begin when the others are done.
_FIRST = ("golden_float64", "hosts", "chaos", "faults", "network", "sharding", "loop", "trajectory")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.stem.removeprefix("test_").startswith(_FIRST))


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_cache], ignore_errors=True)
