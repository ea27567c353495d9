import numpy as np
import pytest

from dgunet_jax.metrics import seams


def test_blocks_of_their_own_are_seen_and_a_smooth_image_is_not():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(np.full((64, 96, 1), 0.01), axis=0), axis=1)[::-1]
    ramp = np.broadcast_to(np.arange(96.0)[None, :, None], (96, 96, 1))
    assert seams(ramp + ramp.swapaxes(0, 1), 32) == pytest.approx(1)
    blocks = np.kron(rng.random((3, 3)), np.ones((32, 32)))[..., None]
    noise = 0.01 * rng.standard_normal((96, 96, 1))
    assert seams(blocks + noise, 32) > 10
    assert seams(blocks + noise, 31) == pytest.approx(1, abs=1.5)
    assert seams(smooth, 32) == pytest.approx(1, abs=0.5)


def test_a_known_ratio():
    image = np.zeros((4, 4, 1))
    image[:, 2:] = 1  # across the border of 2×2 blocks
    image[:, 1::2] += 0.25  # and within them
    across, within = (0.75 * 4 + 0 * 4) / 8, (0.25 * 8 + 0 * 8) / 16
    assert seams(image, 2) == pytest.approx(across / within)


def test_an_image_of_one_block_has_no_borders():
    with pytest.raises(ValueError, match="no borders of blocks of 32 pixels"):
        seams(np.zeros((32, 32, 1)), 32)
