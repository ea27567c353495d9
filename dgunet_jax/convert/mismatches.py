"""Named arrays that are not those a network has."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def mismatches(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is missing, unexpected or has another shape than expected, one entry each.

    Args:
      found: names to arrays.
      expected: names to shapes.
    """
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    return problems + [
        f"{name} has shape {np.shape(found[name])}, not {shape}"
        for name, shape in expected.items()
        if name in found and np.shape(found[name]) != shape
    ]
