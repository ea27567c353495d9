"""Networks on a hub: loaded, pushed, cut off, damaged and missing."""

import importlib.util
import os
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

import dgunet_jax
from dgunet_jax import checkpoints
from dgunet_jax.about import About
from dgunet_jax.cli import main
from dgunet_jax.system.errors import UserError
from tests.hub import TOKEN, Hub
from tests.small import equal, network

ABOUT = About(task="a test", data="nothing", scores={"none": (20.0, 30.0)})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with a network as someone/small; only a process that is told of it may ask another."""
    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    checkpoints.save(tmp_path / "small.safetensors", *network(), ABOUT)
    content = (tmp_path / "small.safetensors").read_bytes()
    server.files["someone/small/model.safetensors"] = content
    server.files["someone/small/others/half.safetensors"] = content
    server.files["someone/small/notes.txt"] = b"no network"
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("address", ["small", "small@v1", "small/others/half.safetensors"])
def test_a_network_is_loaded_and_kept(hub, address):
    for _ in range(2):
        model, variables = dgunet_jax.load(f"hf://someone/{address}")
        assert model.config == network()[0].config
        assert equal(variables, network()[1])
    assert hub.ranges == [""]


def test_without_a_connection_the_kept_copy_is_read(hub):
    first = dgunet_jax.load("hf://someone/small")
    hub.shutdown()
    hub.server_close()
    assert equal(dgunet_jax.load("hf://someone/small")[1], first[1])


def test_a_download_that_is_cut_off_goes_on(hub, monkeypatch):
    hub.cut = 1
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**15)
    assert equal(dgunet_jax.load("hf://someone/small")[1], network()[1])
    half = len(hub.files["someone/small/model.safetensors"]) // 2
    assert hub.ranges == ["", f"bytes={half // 2**15 * 2**15}-"]


def test_a_damaged_download_is_told_and_not_kept(hub):
    hub.wrong = True
    with pytest.raises(UserError, match=r"^hf://someone/small: is damaged: its checksum is not "):
        dgunet_jax.load("hf://someone/small")
    hub.wrong = False
    assert equal(dgunet_jax.load("hf://someone/small")[1], network()[1])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://someone", "hf://someone: must be hf://OWNER/NAME"),
        ("hf://someone/none", "hf://someone/none: there is no such repository"),
        (
            "hf://someone/small/none.safetensors",
            "small/none.safetensors: the repository has no such file",
        ),
        ("hf://someone/small@v2", "hf://someone/small@v2: the repository has no such revision"),
        ("hf://someone/small/notes.txt", "notes.txt: is not a PyTorch checkpoint"),
    ],
)
def test_what_is_not_there_is_one_line(hub, capsys, address, message):
    assert main(["info", address]) == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert len(said) == 1


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # of the library's own
@pytest.mark.parametrize("name", ["someone/new", "hf://someone/new"])
def test_what_is_pushed_can_be_loaded(hub, tmp_path, name):
    dgunet_jax.save(tmp_path / "own.safetensors", *network(seed=1), ABOUT, push_to=name)
    read = checkpoints.read("hf://someone/new")
    assert equal(read.variables, network(seed=1)[1])
    assert read.about == ABOUT
    card = hub.files["someone/new/README.md"].decode()
    assert card.startswith("---\nlibrary_name: dgunet_jax\n")
    assert "* none: 30.00 dB, input 20.00 dB" in card
    hub.files["someone/new/README.md"] = b"its own"
    dgunet_jax.save(tmp_path / "own.safetensors", *network(seed=2), push_to="someone/new")
    assert equal(dgunet_jax.load("hf://someone/new")[1], network(seed=2)[1])
    assert hub.files["someone/new/README.md"] == b"its own"


def test_only_who_may_write_pushes(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    path = tmp_path / "own.safetensors"
    with pytest.raises(UserError, match=r"^someone/new: .*401 ") as caught:
        dgunet_jax.save(path, *network(), push_to="someone/new")
    assert "\n" not in str(caught.value)
    assert path.exists()
    with pytest.raises(UserError, match=r"own.pth: what is pushed to someone/new must be a"):
        dgunet_jax.save(tmp_path / "own.pth", *network(), push_to="someone/new")
    assert not (tmp_path / "own.pth").exists()


def test_without_a_connection_and_a_copy_the_hub_is_missed(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's attempts
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UserError, match=r"^hf://someone/small: the Hub cannot be reached, and"):
        dgunet_jax.load("hf://someone/small")


def test_the_library_is_asked_for(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        UserError, match=r'^hf://a/b: the Hub needs pip install "dgunet_jax\[hub\]"'
    ):
        dgunet_jax.load("hf://a/b")


def test_commands_take_networks_of_a_hub(hub, tmp_path):
    """In a process of its own, which is told of the hub as a user's is."""
    assert importlib.util.find_spec(huggingface_hub.__name__)
    Image.fromarray(np.full((16, 24, 3), 99, np.uint8)).save(tmp_path / "photo.png")
    words = ["restore", "--checkpoint", "hf://someone/small", str(tmp_path / "photo.png")]
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "dgunet_jax", *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "photo_restored.png").exists()
