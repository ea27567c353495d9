import jax
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import UserError
from dgunet_jax.restoration.padding import pad_to_multiple
from tests.small import network


@pytest.fixture(scope="module")
def net():
    return network()


@pytest.mark.parametrize("size", [(77, 101), (37, 31), (1, 1), (8, 8), (3, 40), (16, 9)])
def test_any_size_is_what_padding_applying_and_cropping_gives(net, size):
    model, variables = net
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    height, width = (-(-side // 8) * 8 for side in size)
    rows, columns = (
        _indices(side, padded) for side, padded in zip(size, (height, width), strict=True)
    )
    expected = jax.jit(model.apply)(variables, image[rows][:, columns][None])
    restored = dgunet_jax.restore(model, variables, image)
    assert restored.shape == image.shape
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, expected.image[0, : size[0], : size[1]], atol=1e-6, rtol=0)


def _indices(side: int, padded: int) -> list[int]:
    """Which row stands where: reflected without the edge, or the edge repeated if too short."""
    if padded - side < side:
        return [i if i < side else 2 * (side - 1) - i for i in range(padded)]
    return [min(i, side - 1) for i in range(padded)]


def test_padding_leaves_what_fits_alone():
    image = np.random.default_rng(0).random((16, 8, 3), np.float32)
    assert pad_to_multiple(image, 8) is image or np.array_equal(pad_to_multiple(image, 8), image)
    assert pad_to_multiple(image[:1, :1], 32).shape == (32, 32, 3)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8, 3), (0, 8, 3), (8, 8, 1)])
def test_another_shape_is_refused(net, shape):
    with pytest.raises(UserError, match="shape"):
        dgunet_jax.restore(net[0], net[1], np.zeros(shape, np.float32))


def test_integers_are_refused(net):
    with pytest.raises(UserError, match="floating point"):
        dgunet_jax.restore(net[0], net[1], np.zeros((8, 8, 3), np.uint8))
