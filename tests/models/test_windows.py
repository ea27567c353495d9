"""Statistics over windows around each pixel."""

import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.models.layers import local_mean
from dgunet_jax.system.errors import UserError
from tests.choices import images, make, run
from tests.small import network


def expected(x: np.ndarray, window: int) -> np.ndarray:
    """The mean of the square around each pixel that lies within the picture (H, W, C)."""
    height, width = (min(window, side) for side in x.shape[:2])
    found = np.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            top = min(max(i - height // 2, 0), x.shape[0] - height)
            left = min(max(j - width // 2, 0), x.shape[1] - width)
            found[i, j] = x[top : top + height, left : left + width].mean((0, 1))
    return found


@pytest.mark.parametrize("window", [1, 8, 13, 16, 64])
def test_a_local_mean_is_that_of_the_square_around_each_pixel(window):
    x = images(2, 24, 37, 3)
    found = np.asarray(local_mean(jnp.asarray(x), None, window))
    np.testing.assert_allclose(found, [expected(each, window) for each in x], 0, 1e-6)
    # The same within larger arrays, whatever lies around.
    sizes, large = [(24, 37), (16, 20)], np.full((2, 32, 48, 3), 7, np.float32)
    inside = np.zeros((2, 32, 48, 1), bool)
    for i, (height, width) in enumerate(sizes):
        large[i, :height, :width], inside[i, :height, :width] = x[i, :height, :width], True
    found = np.asarray(local_mean(jnp.asarray(large), jnp.asarray(inside), window))
    for i, (height, width) in enumerate(sizes):
        alone = expected(x[i, :height, :width], window)
        np.testing.assert_allclose(found[i, :height, :width], alone, 0, 1e-6)


def test_a_window_as_large_as_the_picture_is_the_picture():
    x = images(1, 32, 40, 3)
    model, variables = make("dgunet")
    whole = run(model, variables, x)
    wide, _ = network(window=64)
    near, _ = network(window=8)
    np.testing.assert_allclose(run(wide, variables, x), whole, 0, 1e-5)
    assert np.abs(run(near, variables, x) - whole).max() > 1e-3


def test_a_window_must_divide_into_halves():
    with pytest.raises(UserError, match="window is 12; it must be a multiple of 8"):
        network(window=12)
