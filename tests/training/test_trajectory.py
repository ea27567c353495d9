"""Six steps of Adam against the golden trajectory."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgunet_jax.convert.pytorch import from_pytorch, to_pytorch
from dgunet_jax.training.config import OptimizerConfig
from dgunet_jax.training.schedule import resolve
from dgunet_jax.training.step import make_mesh, make_optimizer, make_train_step, state_of
from tests.golden_numbers import FOLDER, load, nhwc, official_weights
from tests.quick import compiler_options


def test_float64():
    losses, norms = trajectory(np.float64)
    np.testing.assert_allclose(losses, recorded_losses(), rtol=1e-9)
    for key, norm in recorded_norms().items():
        assert norms[key] == pytest.approx(norm, rel=1e-6), key


def test_float32():
    losses, norms = trajectory(np.float32)
    np.testing.assert_allclose(losses, recorded_losses(), rtol=1e-5)
    for key, norm in recorded_norms().items():
        # An instance norm takes away the bias before it, whose true gradient is zero. Adam makes
        # steps of full size of what rounding leaves.
        rounding = "encoder" in key and key.endswith("conv_1.bias")
        assert norms[key] == pytest.approx(norm, rel=2e-3 if rounding else 5e-5), key


def recorded_losses() -> np.ndarray:
    with np.load(FOLDER / "trajectory.npz") as arrays:
        return arrays["losses"]


def recorded_norms() -> dict[str, float]:
    norms = json.loads((FOLDER / "trajectory_norms.json").read_text())
    del norms["basic.concat12.weight"]  # never used, so this project does not keep it
    return norms


def trajectory(dtype: type) -> tuple[list[float], dict[str, float]]:
    """The loss before every step, and the norms of the official weights after the last."""
    with np.load(FOLDER / "trajectory.npz") as arrays:
        inputs, targets = (nhwc(arrays[key]).astype(dtype) for key in ("inputs", "targets"))
    with jax.enable_x64(dtype is np.float64):
        losses, weights = train(dtype, inputs, targets)
    return losses, {key: float(np.linalg.norm(weight)) for key, weight in weights.items()}


def train(dtype: type, inputs: np.ndarray, targets: np.ndarray) -> tuple[list[float], Any]:
    """The real training step, on one device."""
    golden = load("tiny")
    model, variables = from_pytorch(official_weights("tiny"), golden.num_stages)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables["params"])
    config = OptimizerConfig(
        steps=len(inputs), schedule="constant", learning_rate=2e-4, loss=golden.loss_name
    )
    optimizer, rate = make_optimizer(config), resolve(config, 1, 1).rate
    step = make_train_step(model, optimizer, rate, config, make_mesh())
    state, losses = jax.jit(lambda params: state_of(params, optimizer, config))(params), []
    options = compiler_options(dtype)
    batches = [{"input": x, "target": y} for x, y in zip(inputs, targets, strict=True)]
    compiled = step.lower(state, batches[0]).compile(compiler_options=options)
    for batch in batches:
        state, metrics = compiled(state, batch)
        losses.append(float(jnp.sum(metrics.losses)))
    return losses, to_pytorch(model, {"params": state.params})
