"""How programs are compiled: on which platform, where they are kept, and with what precision."""

import functools
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import jax

from dgunet_jax.system.errors import UserError, one_line, reason
from dgunet_jax.system.terminal import say

_READING, _WRITING = (
    f"Error {doing} persistent compilation cache entry" for doing in ("reading", "writing")
)
_said: set[str] = set()


def use_cache(wanted: bool = True) -> None:
    """Keep compiled programs in the user's cache directory, so that the next start is quicker.

    JAX_COMPILATION_CACHE_DIR chooses another place; JAX_ENABLE_COMPILATION_CACHE=false turns it
    off, as `wanted` does. Where nothing can be kept, that is said once and the command goes on.
    """
    if not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    try:
        folder = Path(chosen) if chosen else _own_folder()
        if "://" not in str(folder):  # JAX writes to remote storage by itself
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except (OSError, RuntimeError) as error:  # a RuntimeError: there is no home directory
        say(f"compiled programs are not kept for the next start: {reason(error)}")
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    _hear_of_damage(None if chosen else folder)


def check_platform() -> None:
    """Start JAX on the platform that it chooses, or that JAX_PLATFORMS names.

    Raises:
      UserError: there is no such platform here.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # an AssertionError: of CUDA without a GPU
        chosen = os.environ.get("JAX_PLATFORMS")
        why = one_line(error)[:300]
        if not chosen:
            raise UserError(f"JAX finds no device: {why}") from error
        raise UserError(
            f"JAX_PLATFORMS={chosen}: JAX cannot use this platform here ({why}); unset it, or set"
            " it to cpu"
        ) from error


def _own_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache") / "dgunet_jax"


def _hear_of_damage(own: Path | None) -> None:
    """Replace JAX's warnings about the cache by a line each.

    JAX never replaces an entry that it cannot read, such as one that was being written when the
    process was killed. So the programs in this package's own folder are removed then.
    """
    before = warnings.showwarning

    def show(message: Any, *rest: Any, **more: Any) -> None:
        text = str(message)
        if text.startswith(_READING):
            removed = 0
            for entry in own.glob("*-cache") if own is not None else ():
                entry.unlink(missing_ok=True)
                removed += 1
            line = "a compiled program of an earlier start is damaged"
            _once(f"{line}; {removed} are removed and compiled anew" if removed else line)
        elif text.startswith(_WRITING):
            _once(f"compiled programs are not kept for the next start: {text.split(': ', 1)[1]}")
        else:
            before(message, *rest, **more)

    if not getattr(before, "hears_of_damage", False):
        show.hears_of_damage = True
        warnings.showwarning = show


def _once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        say(line)


Precision = Literal["highest", "default"]

P = ParamSpec("P")
Result = TypeVar("Result")


def highest(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return the function with all products that it traces or runs in full float32."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return run
