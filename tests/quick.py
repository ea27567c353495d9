"""Compiling a network's gradient in seconds instead of half a minute.

The compiled code is slower and its last bits differ; what it computes is the same. It is for tests
that run it once. Where last bits matter, tests compile as users do.
"""

import functools

import jax
import jax.numpy as jnp

_FUSION = "xla_cpu_use_fusion_emitters"


def xla_flags() -> str:
    """The same for a process of its own, in its environment."""
    emitters = f" --{_FUSION}=false" if _is_known(_FUSION) else ""
    return f"--xla_backend_optimization_level=0{emitters}"


def compiler_options(dtype: type = jnp.float32) -> dict[str, int | bool]:
    """Options for `jax.jit` of XLA's CPU backend.

    It calls a library for float32 convolutions, but writes loops for float64 ones, which must be
    optimised.
    """
    level = 1 if dtype == jnp.float64 else 0
    emitters = {_FUSION: False} if _is_known(_FUSION) else {}
    return {"xla_backend_optimization_level": level, **emitters}


@functools.cache
def _is_known(option: str) -> bool:
    """Whether XLA has an option: it refuses those of other versions, and aborts in XLA_FLAGS."""
    try:
        jax.jit(lambda x: x).lower(0.0).compile(compiler_options={option: False})
    except jax.errors.JaxRuntimeError:
        return False
    return True
