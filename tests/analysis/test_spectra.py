"""Norms and symmetry of Jacobians whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dgunet_jax.analysis.spectra import (
    cosine,
    inner,
    largest_singular_value,
    norm,
    probe,
    root_mean_square,
    symmetry,
    unit,
)
from tests.analysis.closed_forms import (
    KERNEL,
    SHAPE,
    circular_blur,
    close,
    linear,
    rotation,
    soft_threshold,
)


def symmetry_at(function, x, key):
    return symmetry(jax.linearize(function, x)[1], x, key)


def test_norms_are_those_of_every_image():
    a = np.array([[[3, 4]], [[0, 2]]], np.float32)
    np.testing.assert_allclose(norm(a), [5, 2])
    np.testing.assert_allclose(inner(a, a[::-1]), [8, 8])
    np.testing.assert_allclose(root_mean_square(a), [5 / 2**0.5, 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(cosine(a, a[::-1]), [0.8, 0.8], rtol=1e-6)


def test_norms_of_trees_put_the_arrays_together():
    tree = {
        "x": np.array([[3]], np.float32),
        "memory": np.array([[0, 4]], np.float32),
        "none": None,
    }
    np.testing.assert_allclose(norm(tree), [5])
    np.testing.assert_allclose(norm(unit(tree)), [1], rtol=1e-6)


def test_cosine_with_zero_is_nan():
    zero = np.zeros((1, 2, 2, 1), np.float32)
    assert np.isnan(cosine(zero, zero + 1))
    np.testing.assert_array_equal(unit(zero), zero)


def test_probes_have_length_one_and_differ():
    like = (np.zeros((2, 5, 4, 3), np.float32), np.zeros((2, 7), np.float32))
    first, second = probe(jax.random.key(0), like), probe(jax.random.key(1), like)
    np.testing.assert_allclose(norm(first), [1, 1], rtol=1e-6)
    assert np.all(np.abs(inner(first, second)) < 0.9)


@pytest.mark.parametrize("name", ["blur", "diagonal", "rotation", "soft_threshold"])
def test_largest_singular_value_in_closed_form(name, images):
    x, _ = images
    functions = {
        "blur": (linear(circular_blur(4, 5, KERNEL), SHAPE).forward, 1),
        "diagonal": (linear(np.diag(np.linspace(-3, 2, 20)), SHAPE).forward, 3),
        "rotation": (linear(2 * rotation(1.1, 10), SHAPE).forward, 2),
        "soft_threshold": (lambda x: soft_threshold(x, 0.3), 1),
    }
    function, expected = functions[name]
    push = jax.linearize(function, x)[1]
    found = largest_singular_value(push, x, jax.random.key(4), tolerance=1e-7)
    close(found.value, expected)
    assert found.converged.all()


def test_largest_singular_value_is_within_its_certificate(images):
    """Of a spectrum without a gap, stopped early."""
    x, _ = images
    singular = np.linspace(1, 1.2, 20)
    turn = rotation(0.7, 10)
    push = Partial(lambda x: linear(turn @ np.diag(singular) @ turn.T, SHAPE).forward(x))
    for tolerance in (1e-1, 1e-2, 1e-3):
        found = largest_singular_value(push, x, jax.random.key(9), tolerance)
        assert found.converged.all()
        for value in np.asarray(found.value):
            assert np.abs(value - singular).min() <= tolerance * value
            assert value <= 1.2 + 1e-9
    found = largest_singular_value(push, x, jax.random.key(9), 1e-6, most=4)
    assert not found.converged.any()


@pytest.mark.usefixtures("double")
def test_largest_singular_value_of_every_image():
    scales = jnp.array([0.5, 2.0, 7.0]).reshape(3, 1, 1, 1)
    at = jnp.ones((3, 3, 4, 2))
    found = largest_singular_value(Partial(lambda x: scales * x), at, jax.random.key(0))
    close(found.value, [0.5, 2, 7])


@pytest.mark.usefixtures("double")
def test_largest_singular_value_of_a_state():
    """(x, m) ↦ (x + m, m): the golden ratio."""
    at = jnp.ones((1, 3)), jnp.ones((1, 3))
    push = Partial(lambda state: (state[0] + state[1], state[1]))
    found = largest_singular_value(push, at, jax.random.key(0), 1e-7)
    close(found.value, (1 + 5**0.5) / 2)


def test_largest_singular_value_of_zero(images):
    x, _ = images
    found = largest_singular_value(Partial(lambda x: 0 * x), x, jax.random.key(0))
    close(found.value, 0)
    assert found.converged.all()


@pytest.mark.usefixtures("double")
def test_largest_singular_value_that_is_not_finite():
    """The images beside it keep theirs."""
    scales = jnp.array([0.5, np.nan, np.inf]).reshape(3, 1, 1, 1)
    at = jnp.ones((3, 3, 4, 2))
    found = largest_singular_value(Partial(lambda x: scales * x), at, jax.random.key(0))
    close(found.value[:1], 0.5)
    assert np.isnan(found.value[1:]).all()
    np.testing.assert_array_equal(found.converged, [True, False, False])


def test_symmetry_of_symmetric_jacobians(images):
    x, _ = images
    for function in (
        lambda x: soft_threshold(x, 0.4),
        lambda x: linear(circular_blur(4, 5, KERNEL), SHAPE).forward(x).reshape(x.shape),
    ):
        found = symmetry_at(function, x, jax.random.key(5))
        close(found.gap, 0)
        assert (found.lowest_quotient > 0).all() and not found.negative.any()


def test_symmetry_of_a_quarter_turn(images):
    x, _ = images
    turn = linear(rotation(np.pi / 2, 10), SHAPE)
    found = symmetry_at(lambda x: turn.forward(x).reshape(x.shape), x, jax.random.key(6))
    close(found.gap, 1)
    close(found.lowest_quotient, 0)  # ⟨u, Ju⟩ = 0 for all u


def test_symmetry_does_not_take_rounding_for_negative():
    """J = S − Sᵀ of a shift S: ⟨u, Ju⟩ = 0 in exact arithmetic."""
    x = jnp.ones((1, 65, 33, 1), jnp.float32)

    def differences(x):
        return jnp.roll(x, 1, axis=2) - jnp.roll(x, -1, axis=2)

    found = symmetry_at(differences, x, jax.random.key(6))
    assert (found.lowest_quotient < 0).all() and not found.negative.any()


def test_symmetry_finds_negative_maps(images):
    x, _ = images
    found = symmetry_at(lambda x: -3 * x, x, jax.random.key(7))
    close(found.lowest_quotient, -3)
    assert found.negative.all()
    close(found.gap, 0)
