"""Checkpoint directories: weights and what belongs to them, written and read by Orbax.

A directory holds two Orbax items: `params`, the weights, and `model`, a JSON file with the
network's configuration, a checksum of every leaf, and what is known of the training.
"""

import contextlib
import errno
import json
import logging
import os
import secrets
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.about import About
from dgunet_jax.models.config import DGUNetConfig, config_from_json, config_to_json
from dgunet_jax.models.parameters import flatten, mismatches, shapes_of, unflatten, wrong
from dgunet_jax.system.errors import UserError, listed, reason
from dgunet_jax.system.runs import best_of_run
from dgunet_jax.system.storage import as_epath, is_remote

Params = dict[str, Any]

LFS_POINTER = b"version https://git-lfs"
IS_POINTER = "is a Git LFS pointer, not the file itself; run git lfs pull"

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SIGNS_OF_DAMAGE = (
    "data_loss",
    "out_of_range",
    "not_found",
    "corrupt",
    "truncated",
    "error decoding",
)


def params_of(config: DGUNetConfig, arrays: Mapping[str, Any]) -> Params:
    """The parameter tree of arrays under the names that `flatten` gives.

    Raises:
      UserError: they are not those of the network.
    """
    shapes = shapes_of(config)
    problems = mismatches(arrays, shapes)
    problems += [
        f"{key} is {arrays[key].dtype}; weights are floating point"
        for key in shapes
        if key in arrays and not jnp.issubdtype(arrays[key].dtype, jnp.floating)
    ]
    if problems:
        raise wrong("array", problems)
    return unflatten(arrays)


def about_of(told: Mapping[str, Any]) -> About:
    return About.from_json(told["about"]) if "about" in told else About()


def checksums(params: Mapping[str, Any]) -> dict[str, int]:
    """CRC-32 of every leaf's bytes: Orbax restores a flipped byte without a word."""
    flat = flatten(params)
    # Bytes: not every type of JAX has a buffer of its own in Python.
    return {key: zlib.crc32(np.asarray(leaf).tobytes()) for key, leaf in flat.items()}


def describe(
    config: DGUNetConfig, params: Mapping[str, Any], about: About | None = None
) -> dict[str, Any]:
    """What the `model` item of a checkpoint directory holds."""
    types = {key: str(leaf.dtype) for key, leaf in flatten(params).items()}
    told = {"config": config_to_json(config), "checksums": checksums(params), "types": types}
    return told if about is None else told | {"about": about.to_json()}


def write_directory(
    path: Path, config: DGUNetConfig, params: Mapping[str, Any], about: About | None = None
) -> None:
    """Write a checkpoint directory, which takes its place only when it is whole.

    Raises:
      UserError: there is something at its place, or it cannot be written.
    """
    import orbax.checkpoint as ocp

    params = jax.tree.map(np.asarray, dict(params))
    items = ocp.args.Composite(
        params=ocp.args.StandardSave(params),
        model=ocp.args.JsonSave(describe(config, params, about)),
    )
    # Orbax itself leaves temporary folders behind where it cannot go on.
    temporary = path.absolute().parent / f".{secrets.token_hex(8)}.tmp"
    try:
        if path.is_file() or (path.exists() and any(path.iterdir())):
            raise UserError(f"{path}: exists already; a checkpoint directory must be new")
        temporary.mkdir(parents=True)
        # On remote storage Orbax commits it itself.
        place = as_epath(path) if is_remote(path) else temporary / "new"
        with (
            _without_stray_reports(),
            ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer,
        ):
            checkpointer.save(place, items)
        if not is_remote(path):
            os.replace(place, path)
    except UserError:
        raise
    except Exception as error:  # Orbax raises errors of many kinds on a full disk
        raise UserError(f"{path}: cannot be written: {_reason(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_directory(path: Path) -> tuple[DGUNetConfig, Params, About]:
    """Return what a checkpoint directory holds, or the best one of a run.

    Raises:
      UserError: it is not a checkpoint, cannot be read, is of another version, or is damaged.
    """
    import orbax.checkpoint as ocp

    if not (path / "params").is_dir():
        path = best_of_run(path)
    check_readable(path)
    place = path.absolute()
    try:
        with (
            _without_stray_reports(),
            ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer,
        ):
            model: Any = checkpointer.restore(
                place, ocp.args.Composite(model=ocp.args.JsonRestore())
            )["model"]
            config, expected = config_from_json(model["config"]), dict(model["checksums"])
            about = about_of(model)
            stored: Any = ocp.StandardCheckpointHandler().metadata(as_epath(place / "params"))
            arrays = {
                name: _Shaped(tuple(leaf.shape), leaf.dtype)
                for name, leaf in flatten(stored.tree).items()
            }
            params_of(config, arrays)
            target = _target(config, dict(model["types"]))
            params = checkpointer.restore(
                place, ocp.args.Composite(params=ocp.args.StandardRestore(target))
            )["params"]
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # Orbax raises errors of many kinds
        raise UserError(f"{path}: {_verdict(error)}") from error
    if damaged := [key for key, value in checksums(params).items() if value != expected.get(key)]:
        raise UserError(f"{path}: is damaged; wrong checksums: {listed(damaged, 5)}")
    return config, params, about


def check_readable(path: Path) -> None:
    """Raise a UserError unless every file of a checkpoint directory can be read.

    Orbax would tell of that as of damage. Remote ones are not looked at.
    """
    if is_remote(path):
        return

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"{error.filename}: cannot be read: {reason(error)}") from error

    for folder, _, names in os.walk(path, onerror=refuse):
        for name in names:
            file = Path(folder, name)
            try:
                with file.open("rb") as opened:
                    start = opened.read(len(LFS_POINTER))
            except OSError as error:
                refuse(error)
            if start == LFS_POINTER:
                raise UserError(f"{file}: {IS_POINTER}")


@contextlib.contextmanager
def _without_stray_reports() -> Iterator[None]:
    """Keep Orbax from printing what it raises as well.

    Where one array cannot be read, the threads that read the others print that nothing waits for
    them any more; they may do so until the process ends.
    """
    log, hook = logging.getLogger("absl"), sys.unraisablehook
    disabled = log.disabled
    log.disabled, sys.unraisablehook = True, without_closed_loops(hook)
    try:
        yield
        sys.unraisablehook = hook
    finally:
        log.disabled = disabled


def without_closed_loops(hook: Callable[..., object]) -> Callable[..., object]:
    """Return the hook without what TensorStore's threads report after Orbax has met a damaged file.

    They speak to event loops that Orbax has closed by then; the error itself is reported elsewhere.
    """

    def report(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    return report


def is_damage(error: BaseException) -> bool:
    """Return whether what Orbax raises over a checkpoint says that its bytes are wrong or missing.

    Nothing else is damage: no lack of memory or of a permission, no other version or precision.
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return True
    if isinstance(error, UnicodeError | json.JSONDecodeError):
        return True
    told = str(error).lower()
    return any(sign in told for sign in _SIGNS_OF_DAMAGE)


def _verdict(error: Exception) -> str:
    if is_damage(error):
        return f"is damaged: {_reason(error)}"
    return f"cannot be read as a checkpoint: {_reason(error)}"


def _reason(error: Exception) -> str:
    """Why Orbax could not go on, without all that TensorStore tells of it."""
    text = reason(error)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EMFILE):
        if os.strerror(code) in text:
            return os.strerror(code)
    return text.split(" [")[0][:200]


class _Shaped(NamedTuple):
    """What is known of an array that is not read yet."""

    shape: tuple[int, ...]
    dtype: Any


def _target(config: DGUNetConfig, types: Mapping[str, str]) -> Params:
    """Arrays for Orbax to fill, of the types that were saved; it would change them silently."""
    shapes = shapes_of(config)
    if unknown := [key for key in shapes if types.get(key) not in _FLOATS]:
        raise UserError(f"has a wrong type for {unknown[0]}; weights are floating point")
    return unflatten({key: np.zeros(shape, types[key]) for key, shape in shapes.items()})
