"""Six steps of Adam against the golden trajectory."""

import json
from typing import Any

import jax
import numpy as np
import optax
import pytest

from dgunet_jax.convert.pytorch import from_pytorch, to_pytorch
from dgunet_jax.training.losses import stage_losses
from tests.choices import estimates
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
    golden = load("tiny")
    model, variables = from_pytorch(official_weights("tiny"), golden.num_stages)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), variables)
    optimizer = optax.adam(2e-4, b1=0.9, b2=0.999, eps=1e-8)

    def loss(variables, images, target):
        stages = estimates(model, variables, images)
        return stage_losses(golden.loss_name, stages, target).sum()

    def step(variables, state, images, target):
        value, gradients = jax.value_and_grad(loss)(variables, images, target)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(variables, updates), state, value

    # In float32 compiled as users do, with all optimisations.
    options = compiler_options(dtype) if dtype is np.float64 else None
    step = jax.jit(step, compiler_options=options)
    state, losses = jax.jit(optimizer.init)(variables), []
    for images, target in zip(inputs, targets, strict=True):
        variables, state, value = step(variables, state, images, target)
        losses.append(float(value))
    return losses, to_pytorch(model, variables)
