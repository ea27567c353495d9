"""Every measure of a stage on operators whose answers are known, to 1e-5."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dgunet_jax.analysis.operators import adjointness, adjointness_gap, gradient_quality, step
from dgunet_jax.analysis.progress import progress
from dgunet_jax.analysis.spectra import largest_singular_value_of, symmetry
from dgunet_jax.analysis.stages import contraction
from dgunet_jax.models.unfold import trace_stage
from tests.analysis.closed_forms import (
    AddingStage,
    Squares,
    circular_blur,
    linear,
    rotation,
    soft_threshold,
    stage,
)

SHAPE = (4, 5, 1)
KERNEL = np.outer([1, 2, 1], [1, 3, 1]) / 20  # its mean is 1, its other frequencies are below


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def images() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.random((2, *SHAPE))), jnp.asarray(rng.random((2, 20)))


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_progress_is_distances(images):
    x, y = images
    made = stage(linear(np.diag(np.linspace(0.5, 2, 20)), SHAPE), 0.3, scale=0.5)
    measured = progress(x, trace_stage(made, x, None, y))
    a = np.linspace(0.5, 2, 20)
    flat = np.asarray(x).reshape(2, 20)
    residual = a * flat - np.asarray(y)
    v = flat - 0.3 * a * residual
    for found, expected in (
        (measured.residual, residual),
        (measured.gradient_move, v - flat),
        (measured.proximal_move, -0.5 * v),
        (measured.change, 0.5 * v - flat),
    ):
        close(found, np.sqrt((expected**2).mean(axis=1)), 1e-12)


def test_a_true_gradient(images):
    x, y = images
    blur = circular_blur(4, 5, KERNEL)
    quality = gradient_quality(linear(blur, SHAPE), 0.7, x, y)
    close(quality.cosine, 1)
    close(quality.relative_error, 0)
    residual = np.asarray(x).reshape(2, 20) @ blur.T - np.asarray(y)
    after = residual - 0.7 * residual @ blur @ blur.T
    close(quality.data_ratio, (after**2).sum(axis=1) / (residual**2).sum(axis=1))
    assert quality.towards_clean is None


def test_a_direction_turned_by_60_degrees(images):
    x, y = images
    turned = linear(np.eye(20), SHAPE, rotation(np.pi / 3, 10))
    quality = gradient_quality(turned, 1.0, x, y)
    close(quality.cosine, 0.5)
    close(quality.relative_error, 1)  # the third side of an equilateral triangle
    close(quality.data_ratio, 1)


def test_a_step_from_the_measurement_towards_the_clean_image(images):
    x, _ = images
    quality = gradient_quality(linear(np.eye(20), SHAPE), 0.5, x, x.reshape(2, 20) - 1, x - 2)
    close(quality.towards_clean, 1)
    close(quality.data_ratio, 0.25)


def test_a_negative_step_goes_the_other_way(images):
    x, _ = images
    y = x.reshape(2, 20) - 1  # g = 1 everywhere
    for size, expected in ((0.5, 1), (-0.5, -1)):
        quality = gradient_quality(linear(np.eye(20), SHAPE), size, x, y, x - 2)
        close(quality.towards_clean, expected)
        close(quality.cosine, 1)
    still = gradient_quality(linear(np.eye(20), SHAPE), 0.0, x, y, x - 2)
    close(still.towards_clean, np.nan)


def test_a_gradient_where_the_operator_is_not_linear(images):
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


def test_a_step_without_residual_has_no_direction(images):
    x, _ = images
    quality = gradient_quality(linear(np.eye(20), SHAPE), 0.5, x, x.reshape(2, 20))
    assert np.isnan(quality.cosine).all() and np.isnan(quality.data_ratio).all()


@pytest.mark.parametrize("name", ["blur", "diagonal", "rotation"])
def test_adjoints_have_no_gap(name, images):
    x, y = images
    matrices = {
        "blur": circular_blur(4, 5, KERNEL),
        "diagonal": np.diag(np.linspace(-1, 2, 20)),
        "rotation": rotation(0.4, 10),
    }
    found = adjointness(linear(matrices[name], SHAPE), x, y, jax.random.key(0))
    close(found.random, 0)
    close(found.in_use, 0)


def test_the_gap_of_a_known_pair(images):
    """Φ = diag(1, 3), Φᵀ = 1: ⟨u, w⟩ beside ⟨u, Φw⟩."""
    x, r = jnp.ones((1, 1, 2, 1)), jnp.ones((1, 2))
    pair = linear(np.diag([1.0, 3.0]), (1, 2, 1), np.eye(2))
    u, w = jnp.array([[1.0, 1.0]]), jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1)
    gap = adjointness_gap(pair.forward, lambda r: pair.adjoint(r, at=x), x, r, u, w)
    close(gap, (7 - 3) / (7 + 3))


def test_an_antisymmetric_pair_has_the_largest_gap(images):
    x, y = images
    quarter = rotation(np.pi / 2, 10)
    found = adjointness(linear(quarter, SHAPE, quarter), x, y, jax.random.key(1))
    close(found.random, 1)


def test_gaps_of_scaled_adjoints_are_the_same_for_all_probes(images):
    """Φᵀ = c Aᵀ: (1 − c) / (1 + c) whatever the direction."""
    x, y = images
    blur = circular_blur(4, 5, KERNEL)
    found = adjointness(linear(blur, SHAPE, 0.25 * blur.T), x, y, jax.random.key(2))
    close(found.random, 0.6)
    close(found.in_use, 0.6)


def test_gaps_are_those_of_the_derivatives_in_use(images):
    """Φ(x) = x² and r ↦ r²: ⟨2r u, w⟩ beside ⟨u, 2x w⟩ for u along r and w along r²."""
    x, y = images[0], images[1] - 1  # so that r > 0: all products are
    found = adjointness(Squares(SHAPE), x, y, jax.random.key(3))
    flat = np.asarray(x).reshape(2, 20)
    r = flat**2 - np.asarray(y)
    left, right = (2 * r * r * r**2).sum(axis=1), (r * 2 * flat * r**2).sum(axis=1)
    close(found.in_use, np.abs(left - right) / (np.abs(left) + np.abs(right)))
    assert (found.in_use < 0.9).all()


def test_operators_that_are_adjoint_at_one_place_have_no_gap_there(images):
    """Where the residual is x, both Jacobians are diag(2x)."""
    x, _ = images
    y = (x**2 - x).reshape(2, 20)
    found = adjointness(Squares(SHAPE), x, y, jax.random.key(3))
    close(found.random, 0)
    close(found.in_use, 0)
    other = adjointness(Squares(SHAPE), x, y + 0.5, jax.random.key(3))
    assert (other.random > 0.1).all()


def test_curvature_is_that_at_the_estimate(images):
    """Φ(x) = x²: ‖diag(2x)‖² = max (2x)²."""
    x, _ = images
    measured = step(stage(Squares(SHAPE), 0.5), x, jax.random.key(0), tolerance=1e-5)
    close(measured.curvature, (2 * np.asarray(x).reshape(2, 20).max(axis=1)) ** 2)
    assert measured.converged.all()


def test_a_certified_curvature_is_the_largest():
    """Of many frequencies close to each other, where power iteration stops early."""
    x = jnp.ones((1, 32, 32, 1))
    singular = np.concatenate([np.linspace(1, 1.9, 1023), [2.0]])
    diagonal = stage(linear(np.diag(singular), (32, 32, 1)), 0.5)
    measured = step(diagonal, x, jax.random.key(0))
    assert measured.converged.all()
    close(measured.curvature, 4, 2e-3)
    short = step(diagonal, x, jax.random.key(0), most=4)
    assert not short.converged.any()
    assert (short.curvature < 3.99).all()


def test_curvature_of_a_blur_is_its_largest_frequency(images):
    x, _ = images
    blur = circular_blur(4, 5, 1.5 * KERNEL)
    measured = step(stage(linear(blur, SHAPE), 0.8), x, jax.random.key(0), tolerance=1e-5)
    close(measured.curvature, 2.25)
    close(measured.product, 0.8 * measured.curvature, 1e-12)
    close(measured.step_size, 0.8, 1e-12)
    assert measured.converged.all()


@pytest.mark.parametrize("name", ["blur", "diagonal", "rotation", "soft_threshold"])
def test_largest_singular_values(name, images):
    x, _ = images
    functions = {
        "blur": (linear(circular_blur(4, 5, KERNEL), SHAPE).forward, 1),
        "diagonal": (linear(np.diag(np.linspace(-3, 2, 20)), SHAPE).forward, 3),
        "rotation": (linear(2 * rotation(1.1, 10), SHAPE).forward, 2),
        "soft_threshold": (lambda x: soft_threshold(x, 0.3), 1),
    }
    function, expected = functions[name]
    push = jax.linearize(function, x)[1]
    found = largest_singular_value_of(push, x, jax.random.key(4), tolerance=1e-7)
    close(found.value, expected)
    assert found.converged.all() and found.iterations <= 21


def test_a_certified_singular_value_is_one(images):
    """As far off as it says, or less: of a spectrum without a gap, stopped early."""
    x, _ = images
    singular = np.linspace(1, 1.2, 20)
    turn = rotation(0.7, 10)
    push = Partial(lambda x: linear(turn @ np.diag(singular) @ turn.T, SHAPE).forward(x))
    for tolerance in (1e-1, 1e-2, 1e-3):
        found = largest_singular_value_of(push, x, jax.random.key(9), tolerance)
        assert found.converged.all()
        for value in np.asarray(found.value):
            assert np.abs(value - singular).min() <= tolerance * value
            assert value <= 1.2 + 1e-9
    found = largest_singular_value_of(push, x, jax.random.key(9), 1e-6, most=4)
    assert found.iterations == 4
    assert not found.converged.any()


def test_pictures_have_their_own_singular_values():
    scales = jnp.array([0.5, 2.0, 7.0]).reshape(3, 1, 1, 1)
    at = jnp.ones((3, 3, 4, 2))
    found = largest_singular_value_of(Partial(lambda x: scales * x), at, jax.random.key(0))
    close(found.value, [0.5, 2, 7])


def test_singular_values_of_states():
    """(x, m) ↦ (x + m, m): the golden ratio."""
    at = jnp.ones((1, 3)), jnp.ones((1, 3))
    push = Partial(lambda state: (state[0] + state[1], state[1]))
    found = largest_singular_value_of(push, at, jax.random.key(0), 1e-7)
    close(found.value, (1 + 5**0.5) / 2)


def test_maps_that_destroy_everything_have_norm_zero(images):
    x, _ = images
    found = largest_singular_value_of(Partial(lambda x: 0 * x), x, jax.random.key(0))
    close(found.value, 0)
    assert found.converged.all()


def test_what_is_not_finite_has_no_singular_value():
    """And takes nothing from the pictures beside it."""
    scales = jnp.array([0.5, np.nan, np.inf]).reshape(3, 1, 1, 1)
    at = jnp.ones((3, 3, 4, 2))
    found = largest_singular_value_of(Partial(lambda x: scales * x), at, jax.random.key(0))
    close(found.value[:1], 0.5)
    assert np.isnan(found.value[1:]).all()
    np.testing.assert_array_equal(found.converged, [True, False, False])
    assert found.iterations < 5


def test_symmetric_jacobians(images):
    x, _ = images
    for function in (
        lambda x: soft_threshold(x, 0.4),
        lambda x: linear(circular_blur(4, 5, KERNEL), SHAPE).forward(x).reshape(x.shape),
    ):
        found = symmetry(function, x, jax.random.key(5))
        close(found.gap, 0)
        assert (found.lowest_quotient > 0).all() and not found.negative.any()


def test_a_quarter_turn_is_all_gap(images):
    x, _ = images
    turn = linear(rotation(np.pi / 2, 10), SHAPE)
    found = symmetry(lambda x: turn.forward(x).reshape(x.shape), x, jax.random.key(6))
    close(found.gap, 1)
    close(found.lowest_quotient, 0)  # ⟨u, Ju⟩ = 0 for all u


def test_rounding_below_zero_proves_nothing():
    """J = S − Sᵀ of a shift S: ⟨u, Ju⟩ = 0 in exact arithmetic."""
    x = jnp.ones((1, 65, 33, 1), jnp.float32)

    def differences(x):
        return jnp.roll(x, 1, axis=2) - jnp.roll(x, -1, axis=2)

    found = symmetry(differences, x, jax.random.key(6))
    assert (found.lowest_quotient < 0).all() and not found.negative.any()


def test_negative_maps_are_found(images):
    x, _ = images
    found = symmetry(lambda x: -3 * x, x, jax.random.key(7))
    close(found.lowest_quotient, -3)
    assert found.negative.all()
    close(found.gap, 0)


def test_contraction_of_a_stage(images):
    """x ↦ s (x − ρ AᵀA x): singular values s |1 − ρ a²|."""
    x, y = images
    a = np.linspace(0.5, 1.5, 20)
    made = stage(linear(np.diag(a), SHAPE), 0.4, scale=0.9)
    memory = jnp.zeros(2)
    found = contraction(made, x, memory, y, jax.random.key(8), tolerance=1e-9, most=2000)
    close(found.image.value, 0.9 * np.abs(1 - 0.4 * a**2).max())
    close(found.state.value, 1)  # the memory goes through unchanged
    close(found.proximal.gap, 0)
    close(found.proximal.lowest_quotient, 0.9)


def test_the_state_has_the_memory_in_it(images):
    """(x, m) ↦ (x + m, m): the golden ratio; 1 with the memory held."""
    x, y = images
    found = contraction(AddingStage(), x, x, y, jax.random.key(8), tolerance=1e-7)
    close(found.state.value, (1 + 5**0.5) / 2)
    close(found.image.value, 1)
    close(found.proximal.lowest_quotient, 1)


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
