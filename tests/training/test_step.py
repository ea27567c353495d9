import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.losses import LOSSES
from dgunet_jax.training.step import make_mesh, make_optimizer, make_train_step, state_of
from tests.quick import compiler_options
from tests.small import equal, network

CONFIG = OptimizerConfig(
    steps=9, schedule="constant", learning_rate=1e-3, average=0.9, clip_norm=0.05, weight_decay=0.1
)


@pytest.fixture(scope="module")
def compiled():
    """State before the first step, and the step."""
    model, variables = network(num_stages=2)
    optimizer = make_optimizer(CONFIG)
    state = state_of(variables["params"], optimizer, CONFIG)
    step = make_train_step(model, optimizer, lambda step: 1e-3, CONFIG, make_mesh())
    step = step.lower(state, batch()).compile(compiler_options=compiler_options())
    # What goes in is used up.
    return lambda: jax.tree.map(jnp.copy, state), step


def batch(value=0.1, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.random((2, 16, 16, 3), np.float32)
    noise = np.float32(value) * rng.standard_normal(target.shape).astype(np.float32)
    return {"input": target + noise, "target": target}


def test_clipped_and_decayed_adam(compiled):
    first, step = compiled
    before = first()
    after, metrics = step(first(), batch())
    assert metrics.gradient_norm > 0.05
    for moments, params, old in zip(
        jax.tree.leaves(after.opt_state[-1].mu),
        jax.tree.leaves(after.params),
        jax.tree.leaves(before.params),
        strict=True,
    ):
        # The first moment is a tenth of the gradient, and Adam's first step has size 1 in it.
        gradient = 10 * np.asarray(moments, np.float64)
        expected = old - 1e-3 * gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(params, expected, rtol=0, atol=1e-6)
    decayed = jax.tree.map(lambda m, p: 10 * m - 0.1 * p, after.opt_state[-1].mu, before.params)
    norm = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(decayed)))
    assert norm == pytest.approx(0.05, rel=1e-3)


def test_the_average_of_the_weights(compiled):
    first, step = compiled
    state = first()
    expected = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(state.params)]
    for i in range(3):
        state, _ = step(state, batch(seed=i))
        decay = min(0.9, (1 + i) / (10 + i))
        leaves = jax.tree.leaves(state.params)
        expected = [decay * a + (1 - decay) * p for a, p in zip(expected, leaves, strict=True)]
    for found, average in zip(jax.tree.leaves(state.weights), expected, strict=True):
        np.testing.assert_allclose(found, average, rtol=0, atol=1e-6)


def test_an_update_that_is_not_finite_is_left_out_and_counted(compiled):
    first, step = compiled
    state, _ = step(first(), batch())
    kept = jax.tree.map(np.array, (state.params, state.opt_state))
    for i in (1, 2):
        state, metrics = step(state, batch(np.nan))
        assert metrics.skipped_in_row > 0
        assert not metrics.finite_stages.any()
        assert (int(state.skipped), int(state.skipped_in_row)) == (i, i)
        assert equal((state.params, state.opt_state), kept)
    state, metrics = step(state, batch())
    assert metrics.skipped_in_row == 0
    assert (int(state.step), int(state.skipped), int(state.skipped_in_row)) == (4, 2, 0)
    assert not equal(state.params, kept[0])


def test_steps_of_a_dead_run_are_counted(compiled):
    first, step = compiled
    # An estimate worse than an input that is nearly right is how a run begins.
    state, metrics = step(first(), batch(0.01))
    assert float(metrics.psnr[-1]) < float(metrics.input_psnr) - 3
    assert int(state.collapsed_in_row) == 0
    # Once it has been as good as its input, that is a collapse.
    state, metrics = step(state, batch(3.0))
    gain = float(metrics.psnr[-1]) - float(metrics.input_psnr)
    assert gain > 0
    assert float(state.best_gain) == pytest.approx(gain, abs=1e-4)
    for i in (1, 2):
        state, metrics = step(state, batch(0.01))
        assert int(state.collapsed_in_row) == i
    state, _ = step(state, batch(3.0))
    assert int(state.collapsed_in_row) == 0


def test_metrics(compiled):
    first, step = compiled
    state = first()
    sizes = [float(state.params[name]["step_size"]) for name in ("first", "last")]
    images = batch()
    _, metrics = step(state, images)
    np.testing.assert_allclose(metrics.step_sizes, sizes, rtol=1e-6)
    error = np.mean((images["input"].clip(0, 1) - images["target"]) ** 2, axis=(1, 2, 3))
    assert float(metrics.input_psnr) == pytest.approx(np.mean(-10 * np.log10(error)), rel=1e-5)
    assert metrics.losses.shape == metrics.psnr.shape == (2,)
    assert metrics.loss == metrics.losses.sum()


def test_the_last_stage_alone_can_be_minimised():
    config = OptimizerConfig(
        steps=9, schedule="constant", learning_rate=1e-3, loss_stages="last", accumulate=2
    )
    model, variables = network(num_stages=2)
    optimizer, images = make_optimizer(config), batch()

    def last(params):
        restored: Any = model.apply({"params": params}, images["input"])
        return LOSSES[config.loss](restored.stages[-1], images["target"]), restored.stages

    quick = compiler_options()
    expected, stages = jax.jit(jax.grad(last, has_aux=True), compiler_options=quick)(
        variables["params"]
    )
    state = state_of(variables["params"], optimizer, config)
    step = make_train_step(model, optimizer, lambda step: 1e-3, config, make_mesh())
    after, metrics = step.lower(state, images).compile(compiler_options=quick)(state, images)
    # Every weight is one of the last stage or reaches it through images and memory.
    norm = float(optax.tree.norm(expected))
    for moments, gradient in zip(
        jax.tree.leaves(after.opt_state[-1].mu), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(10 * moments, gradient, rtol=1e-4, atol=1e-5 * norm)
    assert metrics.gradient_norm == pytest.approx(norm, rel=1e-5)
    alone = [float(LOSSES[config.loss](stage, images["target"])) for stage in stages]
    np.testing.assert_allclose(metrics.losses, alone, rtol=1e-5)
    assert metrics.loss == metrics.losses[-1]


def test_clean_inputs_do_not_count_as_a_collapse(compiled):
    first, step = compiled
    clean = batch(0.0)
    state, metrics = step(first(), clean)
    assert float(metrics.input_psnr) == np.inf
    assert int(state.collapsed_in_row) == 0
    assert float(state.best_gain) == -np.inf
    # Of a batch with one clean input the other one counts.
    half = batch(3.0)
    half["input"][0] = half["target"][0]
    state, _ = step(state, half)
    best = float(state.best_gain)
    assert 0 < best < np.inf
    state, _ = step(state, batch(0.01))
    assert int(state.collapsed_in_row) == 1
    state, _ = step(state, clean)  # which tells nothing of it
    assert int(state.collapsed_in_row) == 1
    assert float(state.best_gain) == best
    state, _ = step(state, batch(0.01))
    assert int(state.collapsed_in_row) == 2


def test_deterministic_kernels_are_asked_of_the_compiler(monkeypatch):
    asked = []
    monkeypatch.setattr(jax, "jit", lambda step, **how: asked.append(how["compiler_options"]))
    for deterministic in (False, True):
        config = dataclasses.replace(CONFIG, deterministic=deterministic)
        make_train_step(network()[0], make_optimizer(config), lambda step: 1, config, make_mesh())
    assert asked == [None, {"xla_gpu_deterministic_ops": True}]


def test_a_batch_of_8_bits_is_that_of_its_values_over_255(compiled):
    first, _ = compiled
    rng = np.random.default_rng(0)
    raw = {name: rng.integers(0, 256, (2, 16, 16, 3), np.uint8) for name in ("input", "target")}
    floats = {name: array.astype(np.float32) / 255 for name, array in raw.items()}
    model, _ = network(num_stages=2)
    step = make_train_step(model, make_optimizer(CONFIG), lambda step: 1e-3, CONFIG, make_mesh())
    run = [
        step.lower(first(), data).compile(compiler_options=compiler_options())(first(), data)
        for data in (raw, floats)
    ]
    np.testing.assert_allclose(run[0][1].losses, run[1][1].losses, rtol=1e-5)
    np.testing.assert_allclose(run[0][1].gradient_norm, run[1][1].gradient_norm, rtol=1e-4)
