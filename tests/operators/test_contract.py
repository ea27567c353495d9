"""What every known operator promises, of each in the catalogue."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.operators import KnownOperator, conjugate_gradient, zero_extends
from dgunet_jax.operators.norm import inner, norm
from dgunet_jax.system.errors import UserError
from tests.operators.catalogue import CASES, adjoint, forward, squared_norm, start
from tests.quick import compiler_options

EVERY = pytest.mark.parametrize("name", CASES)


def random_like(shapes: Any, seed: int, dtype: Any = np.float32) -> Any:
    """Normal noise in the shapes of a measurement, complex where that is."""
    rng = np.random.default_rng(seed)

    def draw(like: Any) -> jax.Array:
        noise = rng.standard_normal(like.shape)
        if jnp.issubdtype(like.dtype, jnp.complexfloating):
            return jnp.asarray(noise + 1j * rng.standard_normal(like.shape)).astype(
                jnp.result_type(dtype, jnp.complex64)
            )
        return jnp.asarray(noise, dtype)

    return jax.tree.map(draw, shapes)


def images(name: str, seed: int = 0, dtype: Any = np.float32) -> jax.Array:
    shape = CASES[name].shape
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def made(name: str, seed: int = 0) -> KnownOperator:
    return CASES[name].make(np.random.default_rng(seed))


def adjoint_gap(operator: KnownOperator, x: jax.Array, r: Any) -> float:
    """|Re⟨Φx, r⟩ − ⟨x, Φᴴr⟩| / (‖Φx‖ ‖r‖), the largest of a batch."""
    y, back = forward(operator, x), adjoint(operator, r)
    assert back.shape == x.shape and back.dtype == x.dtype
    return float(jnp.max(jnp.abs(inner(y, r) - inner(x, back)) / (norm(y) * norm(r))))


@EVERY
def test_adjoint(name):
    operator, x = made(name), images(name)
    r = random_like(operator.measurement(x.shape), 1)
    assert adjoint_gap(operator, x, r) < 1e-5


@EVERY
def test_adjoint_in_double_precision(name):
    with jax.enable_x64(True):
        operator, x = made(name), images(name, dtype=np.float64)
        shapes = jax.eval_shape(operator.forward, x)
        assert all(jnp.finfo(leaf.dtype).dtype == np.float64 for leaf in jax.tree.leaves(shapes))
        assert adjoint_gap(operator, x, random_like(shapes, 1, np.float64)) < 1e-12


@EVERY
def test_derivatives_and_batches_of_batches(name):
    operator, x = made(name), images(name)
    r = random_like(operator.measurement(x.shape), 1)

    def energy(x, r):
        gaps = jax.tree.map(lambda a, b: a - b, operator.forward(x), r)
        return jnp.sum(inner(gaps, gaps)) / 2

    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), (x, r))
    compiled = jax.jit(jax.vmap(jax.grad(energy)), compiler_options=compiler_options())
    gaps = jax.tree.map(lambda a, b: a - b, forward(operator, x), r)
    expected = adjoint(operator, gaps)
    scale = float(jnp.max(jnp.abs(expected)))
    for factor, found in zip((1, 2), compiled(*pair), strict=True):
        np.testing.assert_allclose(found, factor * expected, rtol=0, atol=1e-5 * factor * scale)


@EVERY
def test_shapes(name):
    operator, shape = made(name), CASES[name].shape
    y = operator.measurement(shape)
    assert operator.image_shape(y) == shape
    assert operator.image_shape(random_like(y, 0)) == shape
    assert jax.eval_shape(operator.start, y).shape == shape
    wrong = [
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), y),
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape, 1, 1), leaf.dtype), y),
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, _other(leaf.dtype)), y),
        (y, y, y),
    ]
    for each in wrong:
        with pytest.raises(UserError, match="gives no measurement") as caught:
            operator.image_shape(each)
        assert "\n" not in str(caught.value)


def _other(dtype: Any) -> Any:
    return np.float32 if jnp.issubdtype(dtype, jnp.complexfloating) else np.complex64


@EVERY
def test_norm(name):
    operator = made(name)
    x = images(name)
    for _ in range(60):
        x = x / norm(x).reshape(-1, 1, 1, 1)
        x = adjoint(operator, forward(operator, x))
    claimed = squared_norm(operator)
    assert claimed.shape in ((), (len(x), 1, 1, 1))
    ratio = np.ravel(claimed) / np.asarray(norm(x))
    assert np.all(ratio > 1 - 1e-3), ratio  # the iteration approaches its value from below
    assert np.all(ratio < CASES[name].loose * 1.03), ratio


@EVERY
def test_start_is_a_step_of_size_one_over_the_squared_norm(name):
    operator = made(name)
    y = random_like(operator.measurement(CASES[name].shape), 1)
    expected = adjoint(operator, y)
    if name not in ("identity", "sampling"):  # theirs is Φᵀy
        expected = expected / squared_norm(operator)
    np.testing.assert_allclose(start(operator, y), expected, 1e-4, 1e-6)


@EVERY
def test_other_arrays_compile_nothing_anew(name):
    first, second = made(name), made(name, seed=1)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )
    x = images(name)
    forward(first, x)
    compiled = forward._cache_size()
    other = forward(second, x)
    assert forward._cache_size() == compiled
    if jax.tree.leaves(first) and name != "with_norm":
        assert not np.allclose(jax.tree.leaves(other)[0], jax.tree.leaves(forward(first, x))[0])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.any_size])
def test_zero_extension(name):
    operator, x = made(name), images(name)
    multiple = operator.size_multiple
    wide = jnp.pad(x, ((0, 0), (0, 2 * multiple), (0, 4 * multiple), (0, 0)))
    y, of_wide = operator.forward(x), operator.measurement(wide.shape).shape
    r = jnp.pad(y, [(0, b - a) for a, b in zip(y.shape, of_wide, strict=True)])
    # An operator says so only if it keeps the images' size, unlike an area's mean, which commutes.
    commutes = y.shape[1:3] == x.shape[1:3]
    for function, small, large in ((forward, x, wide), (adjoint, y, r)):
        alone = np.asarray(function(operator, small))
        within = function(operator, large)[:, : alone.shape[1], : alone.shape[2]]
        commutes &= np.allclose(within, alone, rtol=0, atol=1e-5 * np.abs(alone).max())
    assert zero_extends(operator) == commutes


@pytest.mark.parametrize("name", ["mask_of_each", "blur_of_each", "blur_and_sample", "coils"])
def test_arrays_of_each_image(name):
    operator, x = made(name), images(name)
    y = forward(operator, x)
    norms = np.ravel(squared_norm(operator))
    assert len(norms) == 2
    for n in range(2):
        leaves, tree = jax.tree.flatten(operator)
        # What has as many axes as the array of one image more is cut to that image.
        cut = [leaf[n] if len(leaf) == 2 else leaf for leaf in leaves]
        if name == "mask_of_each":
            cut = [leaf[n : n + 1] for leaf in leaves]
        alone = tree.unflatten(cut)
        found = forward(alone, x[n : n + 1])
        np.testing.assert_allclose(found[0], y[n], rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.ravel(squared_norm(alone)), norms[n], rtol=1e-5)
    with pytest.raises(UserError, match="for 2 images"):
        operator.forward(jnp.concatenate([x, x]))


@pytest.mark.parametrize("name", ["mask", "bicubic", "coils", "stack"])
def test_conjugate_gradients_solve_the_normal_equations(name):
    operator, x = made(name), images(name)
    y, damping = forward(operator, x), 0.1
    found = jax.jit(lambda operator, y: conjugate_gradient(operator, y, 40, damping))(operator, y)
    left = adjoint(operator, forward(operator, found)) + damping * found
    np.testing.assert_allclose(left, adjoint(operator, y), rtol=0, atol=1e-5)
