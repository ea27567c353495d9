"""Compiling a network's gradient in seconds instead of half a minute.

The compiled code is slower and its last bits differ; what it computes is the same. It is for tests
that run it once. Where last bits matter, tests compile as users do.
"""

import jax.numpy as jnp

# The same for a process of its own, in its environment.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def compiler_options(dtype: type = jnp.float32) -> dict[str, int | bool]:
    """Options for `jax.jit` of XLA's CPU backend.

    It calls a library for float32 convolutions, but writes loops for float64 ones, which must be
    optimised.
    """
    level = 1 if dtype == jnp.float64 else 0
    return {"xla_backend_optimization_level": level, "xla_cpu_use_fusion_emitters": False}
