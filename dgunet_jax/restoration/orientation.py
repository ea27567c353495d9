"""Pictures on their side, and the eight symmetries of the square."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dgunet_jax.models.config import DGUNetConfig


def can_lie(config: DGUNetConfig) -> bool:
    """Whether the network knows of rows and columns only through its kernels.

    A known operator and a sampling matrix have an orientation of their own.
    """
    return config.degradation != "known"


def transposed(variables: Mapping[str, Any]) -> Any:
    """Variables of the network that does to a transposed picture what the given one does to it.

    With rows and columns exchanged in every kernel, net'(xᵀ) = net(x)ᵀ: transposing commutes with
    everything else the network does. So upright and lying pictures, and all eight versions of the
    self-ensemble, need only one compiled shape.
    """

    def exchange(leaf):
        # (h, w, I, O), with a leading axis where stages have weights of their own.
        return np.swapaxes(np.asarray(leaf), -4, -3) if np.ndim(leaf) >= 4 else leaf

    return jax.tree.map(exchange, variables)
