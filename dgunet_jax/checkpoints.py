"""Saving and loading networks, in this project's formats and the official one.

A checkpoint directory holds two Orbax items: `params`, the weights, and `model`, a JSON file with
the network's configuration and a checksum of every leaf. A run's working directory has one such
directory for each saved step under `checkpoints/`.
"""

import contextlib
import dataclasses
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
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.convert import safetensors_file
from dgunet_jax.models.config import DGUNetConfig, config_from_json, config_to_json, told_otherwise
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import flatten, mismatches, shapes_of, unflatten, wrong
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError, listed, named, reason
from dgunet_jax.system.files import read_copy
from dgunet_jax.system.runs import best_of_run
from dgunet_jax.system.storage import PathLike, as_epath, as_path, is_remote

if TYPE_CHECKING:
    from dgunet_jax.convert import torch_file

PRETRAINED = Path(__file__).with_name("pretrained")
Params = dict[str, Any]

_TORCH_SUFFIXES = (".pth", ".pt", ".pkl")
_SAFETENSORS = ".safetensors"
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SIGNS_OF_DAMAGE = (
    "data_loss",
    "out_of_range",
    "not_found",
    "corrupt",
    "truncated",
    "error decoding",
)
_LFS_POINTER = b"version https://git-lfs"
_IS_POINTER = "is a Git LFS pointer, not the file itself; run git lfs pull"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A network that was read, and how.

    Attributes:
      model, variables: the network.
      stages_assumed: whether the number of stages is neither in the checkpoint nor given.
      weights: of several sets in the file the one that was read, by the keys that lead to it;
        "" where there is nothing to choose from.
      notes: what a user should know of the choice of weights and stages, each one line that begins
        with the path.
    """

    model: DGUNet
    variables: dict[str, Any]
    stages_assumed: bool = False
    weights: str = ""
    notes: tuple[str, ...] = ()


def load(
    path: PathLike, num_stages: int | None = None, weights: str | None = None
) -> tuple[DGUNet, dict[str, Any]]:
    """Return a network and its variables from any checkpoint; `read` says more of them.

    Args:
      path: an official `.pth`, `.pt` or `.pkl` file (read without PyTorch), packed or unpacked; a
        safetensors file, ours or with official names; a checkpoint directory; a run's working
        directory, which means its best checkpoint. Content decides, not the ending. Or the name of
        a network that is installed with the package, "any_operator", where no file has it.
      num_stages: K of an official DGUNet file, which does not tell; 7 if not given. Elsewhere it
        must agree, unless the middle stages share weights: then it may be any number.
      weights: which of several sets of weights, by the keys that lead to it in the file, joined by
        dots. Not given, an average (`ema`) is preferred.

    Returns:
      (model, variables).

    Raises:
      UserError: in one line, what is wrong with the file.
    """
    checkpoint = read(path, num_stages, weights)
    return checkpoint.model, checkpoint.variables


def read(path: PathLike, num_stages: int | None = None, weights: str | None = None) -> Checkpoint:
    """Return what `load` does, and what there is to know of how it was read."""
    path = _located(as_path(path))
    try:
        read_it = _read_remote if is_remote(path) else _read
        return read_it(path, num_stages, weights)
    except UserError as error:
        message = str(error)
        raise UserError(
            message if message.startswith(str(path)) else f"{path}: {message}"
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: there is no such file or directory") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def _read_remote(path: Path, num_stages: int | None, weights: str | None) -> Checkpoint:
    """Read a directory from where it is, and a file from a copy."""
    if path.is_dir():
        return _read(path, num_stages, weights)

    def read_file(copy: Path) -> Checkpoint:
        found = _read(copy, num_stages, weights)
        notes = tuple(note.replace(str(copy), str(path)) for note in found.notes)
        return dataclasses.replace(found, notes=notes)

    return read_copy(path, read_file)


def _located(path: Path) -> Path:
    """Return the file of an installed network for its name."""
    installed = PRETRAINED / f"{path.name}{_SAFETENSORS}"
    named = path == Path(path.name) and not path.exists() and installed.is_file()
    return installed if named else path


def read_aloud(
    path: PathLike, num_stages: int | None = None, weights: str | None = None
) -> Checkpoint:
    """Return what `read` does, and print its notes on standard error."""
    checkpoint = read(path, num_stages, weights)
    for note in checkpoint.notes:
        terminal.say(f"note: {note}")
    return checkpoint


def _read(path: Path, num_stages: int | None, weights: str | None) -> Checkpoint:
    path.stat()
    if path.is_dir():
        from dgunet_jax.convert import torch_file

        if torch_file.unpacked(path) is not None:
            return _official(path, torch_file.read_torch(path), num_stages, weights)
        config, params = read_directory(path)
    else:
        kind = _kind(path)
        if kind == "torch":
            from dgunet_jax.convert import torch_file

            return _official(path, torch_file.read_torch(path), num_stages, weights)
        arrays, metadata = safetensors_file.read_safetensors(path)
        if "config" not in metadata:
            return _official(path, arrays, num_stages, weights)
        config = config_from_json(metadata["config"])
        params = _params(config, arrays)
    if weights:
        raise UserError(f"has one set of weights; there is none under {named(weights)}")
    notes = ()
    if num_stages is not None and num_stages != config.num_stages:
        if not config.share_middle or (config.num_stages == 2 and num_stages > 2):
            raise UserError(f"has {config.num_stages} stages; it cannot be read with {num_stages}")
        notes = (f"{path}: {told_otherwise(config.num_stages, num_stages)}",)
        config = dataclasses.replace(config, num_stages=num_stages)
        if num_stages == 2:
            params = {name: part for name, part in params.items() if name != "middle"}
    variables = {"params": jax.tree.map(jnp.asarray, params)}
    return Checkpoint(DGUNet(config), variables, notes=notes)


def _kind(path: Path) -> Literal["torch", "safetensors"]:
    """The format of a file, by its first bytes.

    Raises:
      UserError: it is something else that has a name.
    """
    if not path.is_file():
        raise UserError("is neither a file nor a directory")
    with path.open("rb") as file:
        start = file.read(512)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not start:
        raise UserError("is empty")
    if start.startswith(_LFS_POINTER):
        raise UserError(_IS_POINTER)
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise UserError("is a web page, not a checkpoint; download the file itself")
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        raise UserError("is a packed archive; unpack it first")
    if start[8:9] == b"{" and not start.startswith(b"PK"):
        return "safetensors"
    return "torch"


def _official(
    path: Path,
    saved: "torch_file.Saved | Mapping[str, np.ndarray]",
    num_stages: int | None,
    weights: str | None,
) -> Checkpoint:
    from dgunet_jax.convert import pytorch, torch_file

    if isinstance(saved, torch_file.Saved):
        found = pytorch.read_official(saved.root, num_stages, weights, saved.arrays)
    else:
        found = pytorch.read_official(saved, num_stages, weights, dict)
    notes = tuple(f"{path}: {note}" for note in found.notes)
    return Checkpoint(found.model, found.variables, found.stages_assumed, found.weights, notes)


def save(path: PathLike, model: DGUNet, variables: Mapping[str, Any]) -> None:
    """Write a network to a `.safetensors` file, an official-style `.pth` file, or a checkpoint
    directory.

    A file takes its place only when it is whole, and so does a directory, which must not exist yet,
    or be empty. A `.pth` file holds the weights under `state_dict`, where the released test scripts
    look for them, and the number of stages beside them. A network's own operator is not saved;
    after loading, `model.clone(operator=Φ)` gives it back.

    Raises:
      UserError: another ending; a network the format cannot hold, or variables of another one; a
        place that cannot be written.
    """
    path = as_path(path)
    if "params" not in variables:
        raise UserError(f"{path}: the variables have no 'params'")
    check_params(model.config, variables["params"])
    ending = path.suffix.lower()
    if ending == _SAFETENSORS:
        flat = flatten(variables["params"])
        arrays = {key: np.asarray(leaf) for key, leaf in flat.items()}
        safetensors_file.write_safetensors(path, arrays, {"config": config_to_json(model.config)})
    elif ending in _TORCH_SUFFIXES:
        from dgunet_jax.convert import pytorch, torch_file

        state_dict = pytorch.to_pytorch(model, variables)
        torch_file.write_torch(path, state_dict, {"num_stages": model.config.num_stages})
    elif ending:
        endings = ", ".join((_SAFETENSORS, *_TORCH_SUFFIXES))
        raise UserError(f"{path}: the ending must be one of {endings}, or none for a directory")
    else:
        write_directory(path, model.config, variables["params"])


def check_params(config: DGUNetConfig, params: Mapping[str, Any]) -> None:
    """Raise one UserError that names every missing, unexpected or wrongly shaped array."""
    if problems := mismatches(flatten(params), shapes_of(config)):
        raise wrong("array", problems)


def _params(config: DGUNetConfig, arrays: Mapping[str, Any]) -> Params:
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


def checksums(params: Mapping[str, Any]) -> dict[str, int]:
    """CRC-32 of every leaf's bytes: Orbax restores a flipped byte without a word."""
    flat = flatten(params)
    # Bytes: not every type of JAX has a buffer of its own in Python.
    return {key: zlib.crc32(np.asarray(leaf).tobytes()) for key, leaf in flat.items()}


def describe(config: DGUNetConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the `model` item of a checkpoint directory holds."""
    types = {key: str(leaf.dtype) for key, leaf in flatten(params).items()}
    return {"config": config_to_json(config), "checksums": checksums(params), "types": types}


def write_directory(path: Path, config: DGUNetConfig, params: Mapping[str, Any]) -> None:
    """Write a checkpoint directory, which takes its place only when it is whole.

    Raises:
      UserError: there is something at its place, or it cannot be written.
    """
    import orbax.checkpoint as ocp

    params = jax.tree.map(np.asarray, dict(params))
    items = ocp.args.Composite(
        params=ocp.args.StandardSave(params), model=ocp.args.JsonSave(describe(config, params))
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


def read_directory(path: Path) -> tuple[DGUNetConfig, Params]:
    """Return configuration and weights of a checkpoint directory, or of the best one of a run.

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
            stored: Any = ocp.StandardCheckpointHandler().metadata(as_epath(place / "params"))
            arrays = {
                name: _Shaped(tuple(leaf.shape), leaf.dtype)
                for name, leaf in flatten(stored.tree).items()
            }
            _params(config, arrays)
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
    return config, params


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
                    start = opened.read(len(_LFS_POINTER))
            except OSError as error:
                refuse(error)
            if start == _LFS_POINTER:
                raise UserError(f"{file}: {_IS_POINTER}")


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
