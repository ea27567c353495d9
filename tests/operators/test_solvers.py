"""Total variation and implicit steps: what they minimise, and that they restore."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data
from skimage.restoration import denoise_tv_chambolle

from dgunet_jax import UserError
from dgunet_jax.metrics import psnr
from dgunet_jax.operators import (
    Blur,
    Identity,
    LinearOperator,
    Mask,
    conjugate_gradient,
    implicit_gradient_step,
    noise_damping,
    total_variation,
)


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


def test_an_implicit_step_solves_its_equation_for_every_image():
    """(1 + ρ ΦᵀΦ) v = x + ρ Φᵀy, by a dense solver, with a ρ for each image."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((10, 24)).astype(np.float32)
    operator = LinearOperator(
        lambda x: jnp.einsum("mi,ni->nm", matrix, x.reshape(len(x), -1)), (3, 4, 2)
    )
    x, y = rng.standard_normal((2, 3, 4, 2)), rng.standard_normal((2, 10))
    x, y = x.astype(np.float32), y.astype(np.float32)
    rho = np.array([0.01, 3.0], np.float32)
    found = implicit_gradient_step(operator, jnp.asarray(rho).reshape(-1, 1, 1, 1), x, y, 30)
    for n, step in enumerate(rho):
        left = np.eye(24) + step * matrix.T @ matrix
        expected = np.linalg.solve(left, x[n].ravel() + step * matrix.T @ y[n])
        np.testing.assert_allclose(np.ravel(found[n]), expected, rtol=0, atol=1e-4)


def test_an_implicit_step_is_differentiated_as_it_is_computed():
    operator = Blur(np.outer(np.hanning(7), np.hanning(7))[1:-1, 1:-1] / 9, "circular")
    y = jnp.asarray(CAT, jnp.float32)

    def loss(rho):
        return jnp.mean(jnp.square(implicit_gradient_step(operator, rho, 0.9 * y, y, 4)))

    slope = jax.jit(jax.grad(loss))(2.0)
    run = jax.jit(loss)
    expected = float(run(2.2) - run(1.8)) / 0.4
    assert float(slope) == pytest.approx(expected, rel=2e-2)


def test_the_derivative_of_what_is_solved_before_its_last_step_is_finite():
    """Of a mask two steps solve all: then quotients of what rounding leaves would be formed."""
    mask = (np.random.default_rng(0).random((64, 64, 1)) < 0.5).astype(np.float32)
    y = jnp.asarray(CAT, jnp.float32) * mask[None]

    def loss(y, rho):
        v = implicit_gradient_step(Mask(mask), rho, conjugate_gradient(Mask(mask), y, 9), y, 9)
        return jnp.mean(jnp.square(v - 0.5))

    slopes = jax.jit(jax.grad(loss, (0, 1)))(y + 0.01, jnp.asarray(20.0))
    assert all(np.isfinite(slope).all() for slope in slopes)
    # v is y where it is measured.
    expected = jnp.where(mask[None] > 0, 2 * (y + 0.01 - 0.5) / y.size, 0)
    np.testing.assert_allclose(slopes[0], expected, rtol=0, atol=1e-3 * float(expected.max()))


def test_noise_and_the_error_of_estimates_are_weighed_by_their_variances():
    assert float(noise_damping(jnp.asarray(0.1))) == pytest.approx(1, rel=1e-3)
    assert 0 < float(noise_damping(jnp.asarray(0.0))) < 1e-3
