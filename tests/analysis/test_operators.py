"""Measures of operators whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.analysis.operators import adjointness, gradient_quality, step
from tests.analysis.closed_forms import (
    KERNEL,
    SHAPE,
    Squares,
    circular_blur,
    close,
    linear,
    rotation,
    stage,
)


def test_gradient_quality_of_a_true_gradient(images):
    x, y = images
    blur = circular_blur(4, 5, KERNEL)
    quality = gradient_quality(linear(blur, SHAPE), 0.7, x, y)
    close(quality.cosine, 1)
    close(quality.relative_error, 0)
    residual = np.asarray(x).reshape(2, 20) @ blur.T - np.asarray(y)
    after = residual - 0.7 * residual @ blur @ blur.T
    close(quality.data_ratio, (after**2).sum(axis=1) / (residual**2).sum(axis=1))
    assert quality.towards_clean is None


def test_gradient_quality_of_a_direction_turned_by_60_degrees(images):
    x, y = images
    turned = linear(np.eye(20), SHAPE, rotation(np.pi / 3, 10))
    quality = gradient_quality(turned, 1.0, x, y)
    close(quality.cosine, 0.5)
    close(quality.relative_error, 1)  # the third side of an equilateral triangle
    close(quality.data_ratio, 1)


def test_gradient_quality_of_steps_towards_and_away(images):
    x, _ = images
    y = x.reshape(2, 20) - 1  # g = 1 everywhere
    for size, expected in ((0.5, 1), (-0.5, -1)):
        quality = gradient_quality(linear(np.eye(20), SHAPE), size, x, y, x - 2)
        close(quality.towards_clean, expected)
        close(quality.cosine, 1)
        close(quality.data_ratio, (1 - size) ** 2)
    still = gradient_quality(linear(np.eye(20), SHAPE), 0.0, x, y, x - 2)
    close(still.towards_clean, np.nan)


def test_gradient_quality_of_a_nonlinear_operator(images):
    """Φ(x) = x²: the gradient 2x r beside r²."""
    x, y = images
    quality = gradient_quality(Squares(SHAPE), 0.1, x, y)
    flat = np.asarray(x).reshape(2, 20)
    r = flat**2 - np.asarray(y)
    gradient, g = 2 * flat * r, r**2
    lengths = [np.linalg.norm(each, axis=1) for each in (gradient, g)]
    close(quality.cosine, (gradient * g).sum(axis=1) / lengths[0] / lengths[1])
    close(quality.relative_error, np.linalg.norm(g - gradient, axis=1) / lengths[0])
    after = (flat - 0.1 * g) ** 2 - np.asarray(y)
    close(quality.data_ratio, (after**2).sum(axis=1) / (r**2).sum(axis=1))


def test_gradient_quality_without_residual_is_nan(images):
    x, _ = images
    quality = gradient_quality(linear(np.eye(20), SHAPE), 0.5, x, x.reshape(2, 20))
    assert np.isnan(quality.cosine).all() and np.isnan(quality.data_ratio).all()


@pytest.mark.parametrize("name", ["blur", "diagonal", "rotation"])
def test_adjointness_of_adjoints(name, images):
    x, y = images
    matrices = {
        "blur": circular_blur(4, 5, KERNEL),
        "diagonal": np.diag(np.linspace(-1, 2, 20)),
        "rotation": rotation(0.4, 10),
    }
    found = adjointness(linear(matrices[name], SHAPE), x, y, jax.random.key(0))
    close(found.random, 0)
    close(found.in_use, 0)


def test_adjointness_of_an_antisymmetric_pair(images):
    x, y = images
    quarter = rotation(np.pi / 2, 10)
    found = adjointness(linear(quarter, SHAPE, quarter), x, y, jax.random.key(1))
    close(found.random, 1)


def test_adjointness_of_scaled_adjoints(images):
    """Φᵀ = c Aᵀ: (1 − c) / (1 + c) whatever the direction."""
    x, y = images
    blur = circular_blur(4, 5, KERNEL)
    found = adjointness(linear(blur, SHAPE, 0.25 * blur.T), x, y, jax.random.key(2))
    close(found.random, 0.6)
    close(found.in_use, 0.6)


def test_adjointness_is_that_of_the_derivatives_in_use(images):
    """Φ(x) = x² and r ↦ r²: ⟨2r u, w⟩ beside ⟨u, 2x w⟩ for u along r and w along r²."""
    x, y = images[0], images[1] - 1  # so that r > 0: all products are
    found = adjointness(Squares(SHAPE), x, y, jax.random.key(3))
    flat = np.asarray(x).reshape(2, 20)
    r = flat**2 - np.asarray(y)
    left, right = (2 * r * r * r**2).sum(axis=1), (r * 2 * flat * r**2).sum(axis=1)
    close(found.in_use, np.abs(left - right) / (np.abs(left) + np.abs(right)))
    assert (found.in_use < 0.9).all()


def test_adjointness_at_one_place_alone(images):
    """Where the residual is x, both Jacobians are diag(2x)."""
    x, _ = images
    y = (x**2 - x).reshape(2, 20)
    found = adjointness(Squares(SHAPE), x, y, jax.random.key(3))
    close(found.random, 0)
    close(found.in_use, 0)
    other = adjointness(Squares(SHAPE), x, y + 0.5, jax.random.key(3))
    assert (other.random > 0.1).all()


def test_step_has_the_curvature_at_the_estimate(images):
    """Φ(x) = x²: ‖diag(2x)‖² = max (2x)²."""
    x, _ = images
    measured = step(stage(Squares(SHAPE), 0.5), x, jax.random.key(0), tolerance=1e-5)
    close(measured.curvature, (2 * np.asarray(x).reshape(2, 20).max(axis=1)) ** 2)
    assert measured.converged.all()


@pytest.mark.usefixtures("double")
def test_step_with_a_certified_curvature():
    """Of many frequencies close to each other, where power iteration stops early."""
    x = jnp.ones((1, 16, 16, 1))
    singular = np.concatenate([np.linspace(1, 1.9, 255), [2.0]])
    diagonal = stage(linear(np.diag(singular), (16, 16, 1)), 0.5)
    measured = step(diagonal, x, jax.random.key(0))
    assert measured.converged.all()
    close(measured.curvature, 4, 2e-3)
    short = step(diagonal, x, jax.random.key(0), most=4)
    assert not short.converged.any()
    assert (short.curvature < 3.99).all()


def test_step_of_a_blur_has_its_largest_frequency(images):
    x, _ = images
    blur = circular_blur(4, 5, 1.5 * KERNEL)
    measured = step(stage(linear(blur, SHAPE), 0.8), x, jax.random.key(0), tolerance=1e-5)
    close(measured.curvature, 2.25)
    close(measured.product, 0.8 * measured.curvature, 1e-12)
    close(measured.step_size, 0.8, 1e-12)
    assert measured.converged.all()


def test_measures_can_be_compiled_and_keep_float32(images):
    x, y = (a.astype(jnp.float32) for a in images)
    operator = linear(circular_blur(4, 5, KERNEL).astype(np.float32), SHAPE)

    @jax.jit
    def measure(operator, x, y):
        key = jax.random.key(0)
        return (
            gradient_quality(operator, jnp.float32(0.7), x, y),
            adjointness(operator, x, y, key),
        )

    quality, gaps = measure(operator, x, y)
    sizes = step(stage(operator, jnp.float32(0.7)), x, jax.random.key(0))
    close(quality.cosine, 1)
    assert (gaps.random < 1e-3).all()
    close(sizes.curvature, 1, 2e-3)
    leaves = jax.tree.leaves((quality, gaps, sizes))
    floats = [a for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)]
    assert {a.dtype for a in floats} == {jnp.dtype(jnp.float32)}
