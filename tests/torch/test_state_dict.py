"""Official names, shapes and values, as PyTorch itself sees them."""

import pathlib

import numpy as np
import pytest
import torch

import dgunet_jax
from tests import golden_numbers
from tests.small import equal


def state_dict(name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    weights = golden_numbers.official_weights(name)
    return {prefix + key: torch.from_numpy(value) for key, value in weights.items()}


@pytest.mark.parametrize("name", golden_numbers.SMALL)
def test_a_saved_file_loads_in_pytorch_with_every_key_and_shape(name, tmp_path):
    official, stages = state_dict(name), golden_numbers.load(name).num_stages
    model, variables = dgunet_jax.from_pytorch(official, stages)
    dgunet_jax.save(tmp_path / "net.pth", model, variables)
    saved = torch.load(tmp_path / "net.pth", weights_only=True)
    assert saved["num_stages"] == stages
    loaded = saved["state_dict"]  # where the released test scripts look for it
    assert {k: v.shape for k, v in loaded.items()} == {k: v.shape for k, v in official.items()}
    used = {k for k, v in golden_numbers.load(name).gradients.items() if v is not None}
    for key in used:
        assert torch.equal(loaded[key], official[key]), key


@pytest.mark.parametrize("old_format", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_every_way_pytorch_saves_loads_equal(tmp_path, old_format, prefix, wrapped):
    content = state_dict("tiny", prefix)
    saved = {"epoch": 3, "state_dict": content, "optimizer": {"lr": 1e-4}} if wrapped else content
    path = pathlib.Path(tmp_path, "net.pth")
    torch.save(saved, path, _use_new_zipfile_serialization=not old_format)
    model, variables = dgunet_jax.load(path, num_stages=4)
    assert model.config.num_stages == 4
    expected = dgunet_jax.from_pytorch(golden_numbers.official_weights("tiny"), 4)[1]
    assert equal(variables, expected)


def test_bfloat16_tensors_are_taken_exactly():
    official = {key: value.bfloat16() for key, value in state_dict("tiny").items()}
    _, variables = dgunet_jax.from_pytorch(official, 4)
    rounded = {key: value.float().numpy() for key, value in official.items()}
    assert equal(variables, dgunet_jax.from_pytorch(rounded, 4)[1])
    assert np.asarray(variables["params"]["first"]["step_size"]).dtype == np.float32
