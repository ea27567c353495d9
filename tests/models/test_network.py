"""Networks of every family and choice run and train; what only saves time changes nothing."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.convert.pytorch import from_pytorch
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import flatten
from dgunet_jax.models.unfold import unfold
from tests import golden_numbers
from tests.choices import CHOICES, estimates, images, make, run
from tests.quick import compiler_options
from tests.small import network


def loss_and_gradient(model: DGUNet, variables: Any, x: Any):
    """Estimates and the gradient of a sum over all of them, compiled quickly; NumPy arrays."""

    def loss(variables, x):
        stages = estimates(model, variables, x)
        return jnp.mean(jnp.square(stages - 0.5)), stages

    compiled = jax.jit(jax.grad(loss, has_aux=True), compiler_options=compiler_options())
    gradient, stages = jax.device_get(compiled(variables, x))
    return stages, flatten(gradient["params"])


# Every choice, those together that do not touch each other.
TOGETHER = (
    *(("dgunet",), ("plus",), ("sensing",), ("sensing_plus", "sensing_blocks"), ("known",)),
    *(("tied", "no_memory"), ("identity", "additive_memory"), ("no_degradation", "finest_memory")),
    *(("concat", "gated", "coarsest_memory"), ("last_subspace", "one_slope", "no_memory_scale")),
    *(("last_adds_estimate", "grey"), ("two_stages", "window")),
)


def test_no_choice_is_left_out():
    assert {name for names in TOGETHER for name in names} == set(CHOICES)


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_every_choice_runs_and_trains(names: tuple[str, ...]):
    (*_, name) = names
    model, variables = make(name)
    if len(names) > 1:
        changes = {field: value for each in names for field, value in CHOICES[each].items()}
        model, variables = network(**changes)
    x = images(2, 64, 32, model.config.channels)
    stages, gradients = loss_and_gradient(model, variables, x)
    assert stages.shape == (model.config.num_stages, *x.shape)
    assert stages.dtype == np.float32
    assert np.all(np.isfinite(stages))
    # So few channels may all be behind a closed rectifier; where Φ(x) = x, the first residual is 0.
    idle = {k for k in gradients if "squeeze" in k or "excite" in k}
    idle |= {"first.step_size"} if "identity" in names else set()
    for weight, gradient in gradients.items():
        assert np.all(np.isfinite(gradient)), weight
        assert np.any(gradient) or weight in idle, f"{weight} has no effect"


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("dgunet", [{"unroll": True}, {"remat": True}]),
        ("plus", [{"unroll": True, "remat": True}]),
    ],
)
def test_rolled_unrolled_and_recomputed_are_the_same(name: str, ways: list[dict[str, bool]]):
    model, variables = make(name, num_stages=4)
    x = images(2, 24, 32, 3)
    stages, gradients = loss_and_gradient(model, variables, x)
    largest = max(np.linalg.norm(gradient) for gradient in gradients.values())
    for choices in ways:
        other = DGUNet(dataclasses.replace(model.config, **choices))
        other_stages, other_gradients = loss_and_gradient(other, variables, x)
        np.testing.assert_allclose(other_stages, stages, rtol=0, atol=1e-6)
        for weight, gradient in gradients.items():
            difference = np.linalg.norm(other_gradients[weight] - gradient)
            tolerance = 1e-5 * np.linalg.norm(gradient) + 1e-6 * largest
            assert difference <= tolerance, f"{choices}: {weight}"


@pytest.mark.parametrize("name", ["tiny", "tiny_plus", "derain"])
def test_bfloat16_is_close_to_float32(name: str):
    golden = golden_numbers.load(name)
    model, variables = from_pytorch(golden_numbers.official_weights(name), golden.num_stages)
    half = DGUNet(dataclasses.replace(model.config, dtype="bfloat16"))
    stages = np.asarray(jax.jit(half.apply)(variables, golden.images).stages)
    assert stages.dtype == np.float32
    error = np.linalg.norm(stages - golden.stages)
    assert 1e-5 * np.linalg.norm(golden.stages) < error < 3e-3 * np.linalg.norm(golden.stages)
    correction = np.linalg.norm(golden.stages[-1] - golden.images)
    assert np.linalg.norm(stages[-1] - golden.stages[-1]) < 0.03 * correction


def test_dtypes_of_images_and_of_computation():
    model, variables = make("dgunet")
    x = images(1, 16, 8, 3)
    expected = run(model, variables, x)
    said = DGUNet(dataclasses.replace(model.config, dtype="float32"))
    np.testing.assert_array_equal(run(said, variables, x), expected)
    low = jnp.asarray(x, jnp.bfloat16)
    rounded = run(model, variables, np.asarray(low, np.float32))
    np.testing.assert_array_equal(run(model, variables, low), rounded)


def test_shared_stages_can_be_iterated_more_often():
    model, variables = make("dgunet", num_stages=4)
    longer = DGUNet(dataclasses.replace(model.config, num_stages=9))
    x = images(2, 24, 16, 3)
    short, long = (run(m, variables, x) for m in (model, longer))
    assert long.shape == (9, *x.shape)
    assert np.all(np.isfinite(long))
    np.testing.assert_allclose(long[:3], short[:3], rtol=0, atol=1e-6)


def test_blockwise_is_each_block_alone():
    model, variables = make("sensing_blocks")
    whole = DGUNet(dataclasses.replace(model.config, blockwise=False))
    x = images(2, 64, 96, 1)
    stages = run(model, variables, x)
    alone = jax.jit(whole.apply, compiler_options=compiler_options())
    for row in (0, 32):
        for column in (0, 32, 64):
            block = np.s_[..., row : row + 32, column : column + 32, :]
            expected = alone(variables, x[block]).stages
            np.testing.assert_allclose(stages[block], expected, rtol=0, atol=1e-6)
    # Without it, blocks see their neighbours.
    assert np.abs(run(whole, variables, x) - stages).max() > 1e-3


def test_tied_pair_makes_a_true_gradient_step():
    model, variables = make("tied")
    stage = unfold(model, variables).stages[1]
    x, y = images(2, 24, 16, 3), images(2, 24, 16, 3, seed=1)

    def energy(x):
        return jnp.sum(jnp.square(stage.operator.forward(x) - y)) / 2

    expected = x - stage.step_size * jax.grad(energy)(x)
    np.testing.assert_allclose(stage.gradient(x, y), expected, rtol=0, atol=1e-6)


def test_images_of_a_batch_do_not_meet():
    model, variables = make("dgunet")
    x = images(3, 16, 24, 3)
    both = run(model, variables, x)
    changed = run(model, variables, np.stack([x[0], 1 - x[1], x[2]]))
    np.testing.assert_array_equal(changed[:, [0, 2]], both[:, [0, 2]])


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_image_is_finite(value: float):
    model, variables = make("dgunet")
    x = np.full((1, 24, 16, 3), value, np.float32)
    stages, gradients = loss_and_gradient(model, variables, x)
    assert np.all(np.isfinite(stages))
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients.values())
