"""An official file, as the authors' training writes it, on pictures of odd sizes."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from dgunet_jax.cli import main
from dgunet_jax.convert.pytorch import from_pytorch, to_pytorch
from tests.restoration.alone import Alone
from tests.small import network

SIZES = [(77, 101), (37, 31), (1, 1), (8, 8), (3, 500)]


@pytest.fixture
def official(tmp_path):
    """`epoch`, `state_dict` and `optimizer` in the old format, with names of several GPUs."""
    state = to_pytorch(*network(num_stages=7))
    tensors = {f"module.{name}": torch.tensor(value) for name, value in state.items()}
    weights = [torch.nn.Parameter(tensor) for tensor in tensors.values()]
    optimizer = torch.optim.Adam(weights, lr=1e-4)
    content = {"epoch": 250, "state_dict": tensors, "optimizer": optimizer.state_dict()}
    path = tmp_path / "model_best.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path, state


def test_an_official_file_restores_odd_pictures_as_each_alone(official, tmp_path, capsys):
    path, state = official
    alone = Alone(*from_pytorch(state))
    photograph = np.tile(data.astronaut(), (1, 2, 1))
    (tmp_path / "in").mkdir()
    expected = {}
    for height, width in SIZES:
        picture = np.ascontiguousarray(photograph[100 : 100 + height, 200 : 200 + width])
        name = f"{height}x{width}.png"
        Image.fromarray(picture).save(tmp_path / "in" / name)
        estimate = alone(picture.astype(np.float32) / 255)[-1]
        expected[name] = np.rint(estimate.clip(0, 1) * 255)
    words = ["restore", "--checkpoint", path, tmp_path / "in", "--output", tmp_path / "out"]
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    for name, levels in expected.items():
        restored = np.asarray(Image.open(tmp_path / "out" / name), np.float32)
        assert restored.shape == levels.shape
        assert np.abs(restored - levels).max() <= 1
