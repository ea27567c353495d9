"""Deep unfolding for image restoration in JAX: DGUNet (Mou, Wang, Zhang, CVPR 2022), exactly.

Names are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "1.0.0rc1"

if TYPE_CHECKING:
    from dgunet_jax import analysis, images, metrics, operators
    from dgunet_jax.checkpoints import load, save
    from dgunet_jax.convert.pytorch import from_pytorch, to_pytorch
    from dgunet_jax.models.config import VARIANTS, DGUNetConfig, variant
    from dgunet_jax.models.network import DGUNet, Restored
    from dgunet_jax.models.unfold import trace, unfold
    from dgunet_jax.operators import gradient_step
    from dgunet_jax.restoration.pipeline import restore
    from dgunet_jax.restoration.restorer import Restorer
    from dgunet_jax.system.errors import UserError

_HOMES = {
    "DGUNet": "dgunet_jax.models.network",
    "DGUNetConfig": "dgunet_jax.models.config",
    "Restorer": "dgunet_jax.restoration.restorer",
    "Restored": "dgunet_jax.models.network",
    "UserError": "dgunet_jax.system.errors",
    "VARIANTS": "dgunet_jax.models.config",
    "from_pytorch": "dgunet_jax.convert.pytorch",
    "gradient_step": "dgunet_jax.operators",
    "load": "dgunet_jax.checkpoints",
    "restore": "dgunet_jax.restoration.pipeline",
    "save": "dgunet_jax.checkpoints",
    "to_pytorch": "dgunet_jax.convert.pytorch",
    "trace": "dgunet_jax.models.unfold",
    "unfold": "dgunet_jax.models.unfold",
    "variant": "dgunet_jax.models.config",
}

_PACKAGES = ("analysis", "images", "metrics", "operators")

__all__ = [
    "VARIANTS",
    "DGUNet",
    "DGUNetConfig",
    "Restored",
    "Restorer",
    "UserError",
    "__version__",
    "analysis",
    "from_pytorch",
    "gradient_step",
    "images",
    "load",
    "metrics",
    "operators",
    "restore",
    "save",
    "to_pytorch",
    "trace",
    "unfold",
    "variant",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
