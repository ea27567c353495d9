"""Compiling a network's gradient in seconds instead of half a minute.

Every test compiles so unless it says otherwise: the compiled code is slower and its last bits
differ; what it computes is the same. Where the last bits matter, tests compile `as_users` do.
"""

import importlib.metadata

import numpy as np

_FUSION = "xla_cpu_use_fusion_emitters"
# XLA refuses options of other versions.
_FUSION_IS_KNOWN = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11)


def xla_flags(*more: str) -> str:
    """Flags for the environment of a process: to compile in less time, and others."""
    emitters = [f"--{_FUSION}=false"] if _FUSION_IS_KNOWN else []
    return " ".join(["--xla_backend_optimization_level=0", *emitters, *more])


def devices(count: int) -> str:
    """`xla_flags` of a process with several CPU devices."""
    return xla_flags(f"--xla_force_host_platform_device_count={count}")


def compiler_options(dtype: type = np.float32) -> dict[str, int | bool]:
    """Options for `jax.jit` of XLA's CPU backend.

    It calls a library for float32 convolutions, but writes loops for float64 ones, which must be
    optimised.
    """
    level = 1 if np.dtype(dtype) == np.float64 else 0
    emitters = {_FUSION: False} if _FUSION_IS_KNOWN else {}
    return {"xla_backend_optimization_level": level, **emitters}


def as_users() -> dict[str, int | bool]:
    """Options for `jax.jit` that compile as XLA does by itself."""
    emitters = {_FUSION: True} if _FUSION_IS_KNOWN else {}
    return {"xla_backend_optimization_level": 3, **emitters}
