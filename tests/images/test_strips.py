"""Images side by side."""

import numpy as np
import pytest

from dgunet_jax.images.picture import side_by_side


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gap", [0, 3])
def test_every_image_is_in_its_place_and_white_between(channels: int, gap: int):
    widths = (31, 5, 1)
    rng = np.random.default_rng(0)
    images = [rng.random((37, width, channels), np.float32) / 2 for width in widths]
    strip = side_by_side(iter(images), gap)
    assert strip.dtype == np.float32
    assert strip.shape == (37, sum(widths) + 2 * gap, channels)
    left = 0
    for image in images:
        right = left + image.shape[1]
        np.testing.assert_array_equal(strip[:, left:right], image)
        np.testing.assert_array_equal(strip[:, right : right + gap], 1)
        left = right + gap


def test_one_image_stays_as_it_is():
    image = np.zeros((2, 3, 1), np.float32)
    np.testing.assert_array_equal(side_by_side([image], 8), image)
