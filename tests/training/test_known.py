"""Training with known degradations: simulated, restored, scored and gone on with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dgunet_jax
from dgunet_jax import DGUNet, UserError
from dgunet_jax.operators import Blur, Downsample, Fourier
from dgunet_jax.training import cost, loop
from tests.small import equal, network
from tests.training.settings import settings

MODEL = {"degradation": "known", "last_adds": "estimate", "num_stages": 2}
BLUR = "motion_blur(5, 2..4) | gaussian(0..4)"


def known(**choices):
    """A network of two stages that waits for its operator, and variables."""
    model, variables = network(
        num_stages=2, degradation="identity", last_adds="estimate", **choices
    )
    return DGUNet(dataclasses.replace(model.config, degradation="known")), variables


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    dgunet_jax.save(path, *known(width=4, growth=2, last_growth=2))
    return str(path)


def changed(start, degradation=BLUR):
    data = {"degradation": degradation, "patch": 16, "validation_crop": 32}
    return settings(model=MODEL, data=data, init_from=start)


def test_a_run_is_scored_shown_and_gone_on_with_bit_for_bit(start, tmp_path, stopped):
    unbroken = loop.train(changed(start), tmp_path / "whole")
    assert unbroken.scores is not None and np.isfinite(unbroken.scores.stages).all()
    assert 10 < unbroken.scores.noisy < 40
    assert (tmp_path / "whole/comparison.png").exists()
    stopped(changed(start), tmp_path / "stopped")
    resumed = loop.train(changed(start), tmp_path / "stopped")
    assert resumed.scores == unbroken.scores
    files = (tmp_path / name / "model.safetensors" for name in ("whole", "stopped"))
    (model, one), (_, other) = map(dgunet_jax.load, files)
    assert model.config.degradation == "known"
    assert equal(one, other)


@pytest.mark.parametrize("degradation", ["downsample(2)", "fourier(3) | gaussian(2)", "mask(0.5)"])
def test_steps_of_measurements_of_any_shape_and_kind_can_be_traced(degradation):
    config = settings(model=MODEL, data={"degradation": degradation, "patch": 16})
    traced = cost.trace_step(config)
    assert traced.gflop > 0


def test_a_gradient_step_is_scaled_by_the_norm_and_begins_at_the_adjoint():
    model, variables = known()
    rng = np.random.default_rng(0)
    x = rng.random((2, 16, 24, 3), np.float32)
    operator = Blur(3 * rng.random((2, 3, 3)).astype(np.float32), border="circular")
    y = operator.forward(x) + 0.1
    unfolded = dgunet_jax.unfold(model.clone(operator=operator), variables)
    begun, measured = unfolded.start(y)
    norm = operator.squared_norm()
    np.testing.assert_allclose(begun, operator.adjoint(y) / norm, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(measured, y)
    first = unfolded.stages[0]
    step_size = variables["params"]["first"]["step_size"]
    np.testing.assert_allclose(first.step_size, step_size / norm, rtol=1e-5)
    expected = begun - first.step_size * operator.adjoint(operator.forward(begun) - y)
    np.testing.assert_allclose(first.gradient(begun, y), expected, rtol=1e-5, atol=1e-6)


def test_an_implicit_step_ends_where_its_gradient_is_taken_and_weighs_the_noise():
    model, variables = known(noise_input=True)
    choices = {"degradation": "known", "start_steps": 40, "implicit_steps": 40}
    model = model.clone(config=dataclasses.replace(model.config, **choices))
    rng = np.random.default_rng(0)
    x, noise = rng.random((2, 16, 24, 3), np.float32), np.array([0.01, 0.1], np.float32)
    operator = Blur(rng.random((2, 3, 3)).astype(np.float32), border="circular")
    y = operator.forward(x) + 0.1
    unfolded = dgunet_jax.unfold(model.clone(operator=operator), variables, noise)
    begun, _ = unfolded.start(y)
    damping = ((noise**2 + (0.5 / 255) ** 2) / 0.01).reshape(-1, 1, 1, 1)
    slope = operator.adjoint(operator.forward(begun) - y) + damping * begun
    np.testing.assert_allclose(slope, 0, rtol=0, atol=5e-3)
    first = unfolded.stages[0]
    np.testing.assert_allclose(
        first.step_size, variables["params"]["first"]["step_size"] / damping, rtol=1e-5
    )
    v = first.gradient(x, y)
    expected = x - first.step_size * operator.adjoint(operator.forward(v) - y)
    np.testing.assert_allclose(v, expected, rtol=0, atol=1e-3)
    assert np.abs(v - x).max() > 0.01


@pytest.mark.parametrize("operator", [Downsample(2), Fourier(np.ones((16, 24)))])
def test_a_measurement_is_checked_as_one(operator):
    model, variables = known()
    model = model.clone(operator=operator)
    y = operator.forward(jnp.zeros((1, 16, 24, 3)))
    restored = jax.eval_shape(model.apply, variables, y)
    assert restored.image.shape == (1, 16, 24, 3) and restored.image.dtype == jnp.float32
    with pytest.raises(UserError):
        model.apply(variables, jnp.zeros((1, 7, 3)))


def test_model_and_degradation_must_agree():
    for model, degradation in (({}, BLUR), (MODEL, "gaussian(25)"), (MODEL, None)):
        with pytest.raises(UserError, match="a network of a known degradation needs one that"):
            settings(model=model, data={"degradation": degradation})
