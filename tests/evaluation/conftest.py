"""What the tests of `dgunet evaluate` share: a small network, and the command in a folder."""

import pytest

import dgunet_jax
from dgunet_jax.cli import main
from tests.small import network


@pytest.fixture(scope="session")
def model():
    """One network for all tests, so that it is compiled once."""
    return network(width=4, growth=2, last_growth=2, num_stages=2)


@pytest.fixture(scope="session")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    dgunet_jax.save(path, *model)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def evaluate(here, capsys):
    """Runs the command in an empty folder; its status, and what it wrote to the two streams."""

    def run(*arguments, output="out"):
        status = main(["evaluate", "--output", str(output), *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run
