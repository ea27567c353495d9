"""The losses against the golden numbers, against their definitions, and at their edges."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate1d

from dgunet_jax.system.errors import UserError
from dgunet_jax.training import losses
from tests.golden_numbers import FOLDER, nhwc

EPSILON = 1e-3


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(FOLDER / "losses.npz") as arrays:
        return {k: nhwc(arrays[k]) if arrays[k].ndim else arrays[k] for k in arrays.files}


def pair(*shape: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.random(shape), rng.random(shape)


def laplacian_by_definition(x: np.ndarray) -> np.ndarray:
    """Blur, every second pixel of twice that many rows and columns, blur again, subtract."""

    def blur(x):
        taps = [0.05, 0.25, 0.4, 0.25, 0.05]
        for axis in (-3, -2):
            x = correlate1d(x, taps, axis, mode="nearest")
        return x

    kept = np.zeros_like(x)
    kept[..., ::2, ::2, :] = 4 * blur(x)[..., ::2, ::2, :]
    return x - blur(kept)


def test_golden_numbers_in_float64(golden):
    with jax.enable_x64(True):
        a, b = golden["a"], golden["b"]
        assert float(losses.charbonnier(a, b)) == pytest.approx(golden["charbonnier"], rel=1e-12)
        # The weights of the released filter are float32.
        assert float(losses.edge(a, b)) == pytest.approx(golden["edge"], rel=1e-6)
        np.testing.assert_allclose(losses.laplacian(a), golden["laplacian"], rtol=0, atol=1e-6)


def test_golden_numbers_in_float32(golden):
    a, b = golden["a"].astype(np.float32), golden["b"].astype(np.float32)
    assert float(losses.charbonnier(a, b)) == pytest.approx(golden["charbonnier"], rel=1e-6)
    assert float(losses.edge(a, b)) == pytest.approx(golden["edge"], rel=1e-6)
    np.testing.assert_allclose(losses.laplacian(a), golden["laplacian"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(37, 31, 3), (2, 8, 9, 1), (3, 2, 6, 5, 3), (1, 1, 1)])
def test_laplacian_is_its_definition(shape: tuple[int, ...]):
    x = pair(*shape)[0]
    with jax.enable_x64(True):
        found = losses.laplacian(x)
    np.testing.assert_allclose(found, laplacian_by_definition(x), rtol=0, atol=1e-14)


def test_laplacian_of_a_constant_is_zero():
    constant = np.full((37, 31, 3), 0.6, np.float32)
    # At the far borders the replicated last row or column may be one that was not kept.
    inside = losses.laplacian(constant)[2:-2, 2:-2]
    np.testing.assert_allclose(inside, 0, atol=3e-7)


def test_laplacian_is_linear():
    x, y = pair(37, 31, 3)
    with jax.enable_x64(True):
        found = losses.laplacian(2 * x - 3 * y)
        expected = 2 * losses.laplacian(x) - 3 * losses.laplacian(y)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_charbonnier_of_equal_images_is_epsilon():
    x = pair(37, 31, 3)[0].astype(np.float32)
    assert float(losses.charbonnier(x, x)) == pytest.approx(
        EPSILON, rel=1e-4
    )  # many values are summed
    assert not np.any(jax.grad(losses.charbonnier)(x, x))


def test_charbonnier_and_squares_have_closed_forms():
    x, y = np.full((37, 31, 3), 0.5, np.float32), np.full((37, 31, 3), 0.25, np.float32)
    expected = np.sqrt(0.25**2 + EPSILON**2)
    assert float(losses.charbonnier(x, y)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.mean_squared_error(x, y)) == pytest.approx(0.25**2, rel=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_sums_run_in_float32(dtype):
    x, y = (jnp.asarray(a, dtype) for a in pair(2, 37, 31, 3))
    wide = [jnp.asarray(a, jnp.float32) for a in (x, y)]
    for name in losses.LOSSES:
        loss = losses.stage_losses(name, x[None], y)
        assert loss.dtype == jnp.float32
        np.testing.assert_array_equal(loss, losses.stage_losses(name, wide[0][None], wide[1]))


def test_float64_images_are_taken_as_float32():
    x, y = pair(2, 37, 31, 3)
    for name in losses.LOSSES:
        loss = losses.stage_losses(name, jnp.asarray(x[None], jnp.float32), y)
        assert loss.dtype == jnp.float32


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_stage_has_its_loss(name: str):
    stages = pair(4, 2, 13, 11, 3)[0].astype(np.float32) * 3 - 1
    target = pair(2, 13, 11, 3, seed=1)[0].astype(np.float32)
    found = losses.stage_losses(name, stages, target)
    alone = [losses.LOSSES[name](stage, target) for stage in stages]
    assert found.shape == (4,)
    np.testing.assert_allclose(found, alone, rtol=1e-6)


def test_all_stages_count_or_only_the_last():
    stage_losses = jnp.asarray([0.5, 0.25, 2.0])
    assert float(losses.total(stage_losses, "all")) == 2.75
    assert float(losses.total(stage_losses, "last")) == 2.0
    for stages, gradient in {"all": [1, 1, 1], "last": [0, 0, 1]}.items():
        np.testing.assert_array_equal(jax.grad(losses.total)(stage_losses, stages), gradient)


def test_recipes_are_sums_and_clamps():
    x, y = (a.astype(np.float32) for a in pair(2, 37, 31, 3))
    x = 3 * x - 1
    clamped = np.clip(x, 0, 1)
    expected = {
        "charbonnier_edge": losses.charbonnier(x, y) + 0.05 * losses.edge(x, y),
        "clamped_charbonnier": losses.charbonnier(clamped, y),
        "clamped_squares": np.mean((clamped - y) ** 2),
    }
    for name, value in expected.items():
        assert float(losses.LOSSES[name](x, y)) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("name", ["clamped_charbonnier", "clamped_squares"])
def test_clamped_pixels_get_no_gradient(name: str):
    x = np.array([-0.5, 0.25, 1.5], np.float32).reshape(1, 3, 1)
    gradient = jax.grad(losses.LOSSES[name])(x, np.full_like(x, 0.5)).ravel()
    np.testing.assert_array_equal(gradient != 0, [False, True, False])


def test_gradients_are_finite_where_images_agree():
    x = np.zeros((1, 2, 16, 16, 3), np.float32)
    for name in losses.LOSSES:
        gradient = jax.grad(lambda s, name=name: losses.stage_losses(name, s, x[0]).sum())(x)
        assert np.all(np.isfinite(gradient))


def test_unknown_loss():
    x = np.zeros((1, 8, 8, 3), np.float32)
    with pytest.raises(UserError, match="no loss 'l1'; the losses are charbonnier_edge, clamped_"):
        losses.stage_losses("l1", x[None], x)
