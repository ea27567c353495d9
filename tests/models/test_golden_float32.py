"""What every released model computes in float32 against the golden numbers."""

import dataclasses

import jax
import numpy as np
import pytest

from dgunet_jax.convert.pytorch import from_pytorch
from dgunet_jax.models.network import DGUNet
from tests import golden_numbers
from tests.quick import as_users


@pytest.mark.parametrize("name", golden_numbers.NAMES)
def test_estimates_of_all_stages(name: str):
    golden = golden_numbers.load(name)
    model, variables = from_pytorch(golden_numbers.official_weights(name), golden.num_stages)
    restored = jax.jit(model.apply, compiler_options=as_users())(variables, golden.images)
    assert restored.stages.dtype == np.float32
    np.testing.assert_array_equal(restored.image, restored.stages[-1])
    assert_as_close_as_released(restored.stages, golden)


@pytest.mark.parametrize("name", ["cs", "cs_plus"])
def test_estimates_block_by_block(name: str):
    golden = golden_numbers.load(name)
    model, variables = from_pytorch(golden_numbers.official_weights(name))
    model = DGUNet(dataclasses.replace(model.config, blockwise=True))
    # The four recorded blocks as one image of two by two.
    image = golden.images.reshape(2, 2, 32, 32, 1).swapaxes(1, 2).reshape(1, 64, 64, 1)
    stages = np.asarray(jax.jit(model.apply, compiler_options=as_users())(variables, image).stages)
    stages = stages.reshape(7, 2, 32, 2, 32, 1).swapaxes(2, 3).reshape(7, 4, 32, 32, 1)
    assert_as_close_as_released(stages, golden)


# In float64 they are exact; here, rounding is no larger than explained.
def test_loss_and_gradients():
    golden, computed = golden_numbers.load("tiny"), golden_numbers.compute("tiny", np.float32)
    assert computed.loss == pytest.approx(golden.loss, rel=1e-5)
    assert_as_close_as_released(computed.stages, golden)
    error, key = golden_numbers.worst_gradient(golden, computed.gradients, 0.02, 0.02 * 5e-4)
    assert error < 1, f"{key}: {error:.2f} times what rounding explains"


def assert_as_close_as_released(stages, golden: golden_numbers.Golden):
    """Within four times the released code's own float32 error, at every stage."""
    assert stages.shape == golden.stages.shape
    errors = np.abs(stages - golden.stages).max((1, 2, 3, 4)) / golden.float32_error
    assert np.all(errors < 4), f"errors of the stages over the released code's: {errors.round(2)}"
