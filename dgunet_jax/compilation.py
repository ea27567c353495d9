"""The persistent compilation cache."""

import os
from pathlib import Path

import jax


def use_cache(wanted: bool = True) -> None:
    """Keeps compiled programs in the user's cache directory, so that the next start is quicker.

    JAX_COMPILATION_CACHE_DIR chooses another place; JAX_ENABLE_COMPILATION_CACHE=false turns it
    off, as `wanted` does.
    """
    if not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
    elif "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "dgunet_jax"))
