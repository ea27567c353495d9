"""Named arrays that are not those a network has."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dgunet_jax.system.errors import UserError, counted, printable

_LONGEST = 100  # characters of a name in a message
_MOST = 20  # problems in a message


def named(name: object) -> str:
    """Return a name of unknown origin for a message: in one line, and cut if it is long."""
    text = printable(str(name)[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def mismatches(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return what is missing, unexpected or has another shape than expected, one entry each.

    Args:
      found: names to arrays.
      expected: names to shapes.
    """
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {named(name)}" for name in found if name not in expected]
    return problems + [
        f"{name} has shape {np.shape(found[name])}, not {shape}"
        for name, shape in expected.items()
        if name in found and np.shape(found[name]) != shape
    ]


def wrong(what: str, problems: list[str]) -> UserError:
    """Return the error, of one line, that names what is wrong with tensors or leaves."""
    told = "; ".join(problems[:_MOST])
    more = f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
    return UserError(f"{counted(len(problems), f'wrong {what}')}: {told}{more}")
