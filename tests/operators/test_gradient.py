"""Known operators and the gradient step, which know nothing of networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.operators import Identity, SamplingMatrix, gradient_step
from tests.choices import images

MEASUREMENTS = 103


def matrix() -> jax.Array:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((MEASUREMENTS, 1024)) / 32, jnp.float32)


def least_squares() -> tuple[Any, Any, Any]:
    """a, x and y of ½‖a x − y‖², plain NumPy."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((5, 7)), rng.standard_normal(7), rng.standard_normal(5)


def test_sampling_by_definition():
    x, operator = images(2, 64, 96, 1), SamplingMatrix(matrix())
    measured = operator.forward(x)
    assert measured.shape == (2, 2, 3, MEASUREMENTS)
    for row in range(2):
        for column in range(3):
            block = x[1, 32 * row : 32 * (row + 1), 32 * column : 32 * (column + 1), 0]
            expected = operator.matrix @ block.reshape(1024)
            np.testing.assert_allclose(measured[1, row, column], expected, rtol=0, atol=1e-5)


def test_adjoint_of_sampling():
    x, operator = images(2, 64, 96, 1), SamplingMatrix(matrix())
    r = images(2, 2, 3, MEASUREMENTS, seed=1) - 0.5
    back = operator.adjoint(r, at=x)
    measured = operator.forward(x)
    difference = float(jnp.vdot(measured, r)) - float(jnp.vdot(x, back))
    assert abs(difference) < 1e-6 * np.linalg.norm(measured) * np.linalg.norm(r)
    np.testing.assert_array_equal(operator.start(r), back)
    (transposed,) = jax.linear_transpose(operator.forward, x)(r)
    np.testing.assert_allclose(back, transposed, rtol=0, atol=1e-5)


def test_identity():
    x, operator = images(2, 37, 31, 3), Identity()
    for y in (operator.forward(x), operator.adjoint(x, at=x), operator.start(x)):
        np.testing.assert_array_equal(y, x)


def test_gradient_step_of_plain_functions():
    a, x, y = least_squares()
    v = gradient_step(lambda x: a @ x, lambda r: a.T @ r, 0.1, x, y)
    assert isinstance(v, np.ndarray)
    np.testing.assert_allclose(v, x - 0.1 * (a.T @ a @ x - a.T @ y), rtol=1e-13)


def test_gradient_step_is_the_gradient():
    x, y, operator = images(1, 64, 32, 1), images(1, 2, 1, MEASUREMENTS), SamplingMatrix(matrix())

    def energy(x):
        return jnp.sum(jnp.square(operator.forward(x) - y)) / 2

    found = gradient_step(operator.forward, lambda r: operator.adjoint(r, at=x), 0.3, x, y)
    np.testing.assert_allclose(found, x - 0.3 * jax.grad(energy)(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("fraction", [0.1, 1.0, 1.9])
def test_gradient_steps_decrease_a_quadratic(fraction: float):
    a, x, y = least_squares()
    step = fraction / np.linalg.norm(a, 2) ** 2  # below 2 / L it never rises
    energies = []
    for _ in range(50):
        energies.append(np.sum((a @ x - y) ** 2) / 2)
        x = gradient_step(lambda x: a @ x, lambda r: a.T @ r, step, x, y)
    assert np.all(np.diff(energies) < 0)


def test_gradient_step_stays_where_the_residual_is_zero():
    x, operator = images(1, 64, 32, 1), SamplingMatrix(matrix())
    y = operator.forward(x)
    found = gradient_step(operator.forward, lambda r: operator.adjoint(r, at=x), 0.5, x, y)
    np.testing.assert_array_equal(found, x)
