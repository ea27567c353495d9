"""Every array that is not as expected is named once."""

import numpy as np

from dgunet_jax.models.parameters import mismatches


def test_everything_that_is_wrong_is_named():
    found = {"right": np.zeros((2, 3)), "new": np.zeros(1), "wide": np.zeros((2, 4)), "none": 0.5}
    expected = {"gone": (1,), "right": (2, 3), "wide": (2, 3), "none": ()}
    assert mismatches(found, expected) == [
        "missing gone",
        "unexpected new",
        "wide has shape (2, 4), not (2, 3)",
    ]
    assert mismatches({}, {}) == []
