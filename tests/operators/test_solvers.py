"""Total variation: its proximal map, its minimum, and that it restores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data
from skimage.restoration import denoise_tv_chambolle

from dgunet_jax import UserError
from dgunet_jax.metrics import psnr
from dgunet_jax.operators import Blur, Identity, conjugate_gradient, total_variation


def objective(operator, x, y, weight):
    down = np.diff(x, axis=1, append=x[:, -1:])
    right = np.diff(x, axis=2, append=x[:, :, -1:])
    residual = np.asarray(operator.forward(np.float32(x)), np.float64) - y
    variation = np.sqrt((down**2 + right**2).sum(-1)).sum()
    return 0.5 * (residual**2).sum() + weight * variation


CAT = np.asarray(data.chelsea()[None, 100:164, 100:164], np.float64) / 255


def test_the_proximal_map_is_scikit_images():
    noisy = CAT[..., :1] + 0.1 * np.random.default_rng(0).standard_normal((1, 64, 64, 1))
    found = total_variation(Identity(), jnp.asarray(noisy, jnp.float32), 0.1, 30, 50)
    expected = denoise_tv_chambolle(noisy[0, ..., 0], weight=0.1, eps=1e-9, max_num_iter=3000)
    np.testing.assert_allclose(found[0, ..., 0], expected, rtol=0, atol=2e-3)


def test_it_minimises_what_it_says_and_restores_more_than_least_squares():
    kernel = np.outer(np.hanning(9), np.hanning(9)).astype(np.float32)
    operator = Blur(kernel / kernel.sum(), "circular")
    y = np.asarray(operator.forward(CAT.astype(np.float32)))
    y = y + 0.01 * np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    x = np.asarray(jax.jit(lambda y: total_variation(operator, y, 1e-3, 200, 20))(y))
    least = objective(operator, x, y, 1e-3)
    rng = np.random.default_rng(1)
    for other in (x + 1e-3 * rng.standard_normal(x.shape), 0.999 * x, np.roll(x, 1, 1)):
        assert least < objective(operator, other, y, 1e-3)
    squares = np.asarray(conjugate_gradient(operator, y, 30))
    assert psnr(x, CAT) > psnr(squares, CAT) + 1 and psnr(x, CAT) > psnr(y, CAT) + 1


def test_a_weight_that_is_none_is_refused():
    with pytest.raises(UserError, match="weight is 0; it must be a finite number above 0"):
        total_variation(Identity(), CAT, 0)
