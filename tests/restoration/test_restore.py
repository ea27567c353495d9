"""`dgunet_jax.restore`: whatever somebody has, in one call."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.restoration.running import apply
from tests.restoration.alone import Alone
from tests.small import network

CAT = data.chelsea()[100:124, 100:132]


@pytest.fixture(scope="module")
def net():
    return network()


@pytest.fixture(scope="module")
def restore(net):
    model, variables = net
    return lambda images: dgunet_jax.restore(model, variables, images)


@pytest.fixture(scope="module")
def expected(net):
    return Alone(*net)(CAT.astype(np.float32) / 255)[-1].clip(0, 1)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    Image.fromarray(CAT).save("photos/cat.png")
    Image.fromarray(CAT.transpose(1, 0, 2)[:20]).save("photos/sub/turned.png")
    Path("photos/notes.txt").write_text("words")


def test_an_array_and_a_picture(restore, expected):
    image = CAT.astype(np.float32) / 255
    deep = CAT.astype(np.uint16) * 257
    pillow = Image.fromarray(CAT)
    alike = [CAT, deep, pillow, pillow.convert("RGBA")]
    for given in (image, "photos/cat.png", Path("photos/cat.png"), *alike):
        restored = restore(given)
        assert isinstance(restored, np.ndarray)
        np.testing.assert_allclose(restored, expected, rtol=0, atol=2e-6)


def test_a_grey_image_comes_back_as_one(restore):
    grey = Image.fromarray(CAT).convert("L")
    values = np.asarray(grey) / np.float32(255)
    colours = restore(np.repeat(values[..., None], 3, 2)).mean(axis=2)
    for given in (values, np.asarray(grey), grey):
        restored = restore(given)
        assert restored.shape == (24, 32)
        np.testing.assert_allclose(restored, colours, rtol=0, atol=2e-6)
    assert 0 <= restored.min() < restored.max() <= 1


def test_a_list_shares_compiled_shapes(restore, expected):
    image = CAT.astype(np.float32) / 255
    before = apply._cache_size()
    restored = restore([image[:9, :9], "photos/cat.png", image[:7], image])
    assert apply._cache_size() - before <= 1
    assert [each.shape for each in restored] == [(9, 9, 3), (24, 32, 3), (7, 32, 3), (24, 32, 3)]
    for each in (restored[1], restored[3]):
        np.testing.assert_allclose(each, expected, rtol=0, atol=2e-6)
    assert restore([]) == []


def test_a_folder_is_restored_with_its_folders(restore, expected):
    restored = restore("photos")
    assert list(restored) == [Path("photos/cat.png"), Path("photos/sub/turned.png")]
    assert restored[Path("photos/sub/turned.png")].shape == (20, 24, 3)
    np.testing.assert_allclose(restored[Path("photos/cat.png")], expected, rtol=0, atol=2e-6)


def test_what_cannot_be_read_is_named(restore):
    Path("photos/bad.png").write_text("words")
    with pytest.raises(UserError, match=r"photos/bad\.png: "):
        restore("photos")
    with pytest.raises(UserError, match=r"gone\.png: no such file"):
        restore(["gone.png"])
