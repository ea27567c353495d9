"""What every released model computes in float64 against the golden numbers.

The strict comparison: in float32 a rectifier or a clamp may flip with rounding.
"""

import numpy as np
import pytest

from tests import golden_numbers

# One of every family, and one of the released size.
WITH_GRADIENTS = (*golden_numbers.SMALL, "derain")


@pytest.mark.parametrize("name", golden_numbers.NAMES)
def test_estimates_loss_and_gradients(name: str):
    gradients = name in WITH_GRADIENTS
    golden = golden_numbers.load(name)
    computed = golden_numbers.compute(name, np.float64, gradients=gradients)
    assert computed.stages.dtype == np.float64
    # The recorded estimates are rounded to float32.
    np.testing.assert_allclose(computed.stages, golden.stages, rtol=6e-8, atol=1e-8)
    assert computed.loss == pytest.approx(golden.loss, rel=1e-9)
    if not gradients:
        return
    error, key = golden_numbers.worst_gradient(golden, computed.gradients, 1e-6, 1e-9)
    assert error < 1, f"{key}: {error:.2f} times the tolerance"
