"""Saving and loading networks, in this project's formats and the official one.

A run's working directory has a checkpoint directory (`directories`) for each saved step under
`checkpoints/`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax import hub
from dgunet_jax.about import About
from dgunet_jax.convert import safetensors_file
from dgunet_jax.directories import (
    IS_POINTER,
    LFS_POINTER,
    about_of,
    params_of,
    read_directory,
    write_directory,
)
from dgunet_jax.models.config import DGUNetConfig, config_from_json, config_to_json, told_otherwise
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import flatten, mismatches, shapes_of, wrong
from dgunet_jax.system import terminal
from dgunet_jax.system.errors import UserError, named, reason
from dgunet_jax.system.files import read_copy
from dgunet_jax.system.storage import PathLike, as_path, is_remote

if TYPE_CHECKING:
    from dgunet_jax.convert import torch_file

PRETRAINED = Path(__file__).with_name("pretrained")

_TORCH_SUFFIXES = (".pth", ".pt", ".pkl")
_SAFETENSORS = ".safetensors"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A network that was read, and how.

    Attributes:
      path: what was read; the copy of what lies on the Hub.
      model, variables: the network.
      stages_assumed: whether the number of stages is neither in the checkpoint nor given.
      weights: of several sets in the file the one that was read, by the keys that lead to it;
        "" where there is nothing to choose from.
      notes: what a user should know of the choice of weights and stages, each one line that begins
        with the path.
      about: what the checkpoint says of its training.
    """

    path: Path
    model: DGUNet
    variables: dict[str, Any]
    stages_assumed: bool = False
    weights: str = ""
    notes: tuple[str, ...] = ()
    about: About = dataclasses.field(default_factory=About)

    @property
    def remark(self) -> str | None:
        """What files that the network restores should say of it; None: nothing."""
        if not self.stages_assumed:
            return None
        return f"dgunet_jax: restored with {self.model.config.num_stages} stages, which is assumed"


def load(
    path: PathLike, num_stages: int | None = None, weights: str | None = None
) -> tuple[DGUNet, dict[str, Any]]:
    """Return a network and its variables from any checkpoint; `read` says more of them.

    Args:
      path: an official `.pth`, `.pt` or `.pkl` file (read without PyTorch), packed or unpacked; a
        safetensors file, ours or with official names; a checkpoint directory; a run's working
        directory, which means its best checkpoint. Content decides, not the ending. Or the name of
        a network that is installed with the package (`installed`), where no file has it; or
        "hf://OWNER/NAME" on the Hugging Face Hub (see `hub`).
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
    path = located(as_path(path))
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
        return dataclasses.replace(found, path=path, notes=notes)

    return read_copy(path, read_file)


def installed() -> list[str]:
    """Return the names of the networks that come with the package."""
    return sorted(path.stem for path in PRETRAINED.glob(f"*{_SAFETENSORS}"))


def installed_file(name: str) -> Path:
    """Return where an installed network lies."""
    return PRETRAINED / f"{name}{_SAFETENSORS}"


def located(path: Path) -> Path:
    """Return the file of an installed network for its name, and any other path as it is.

    What is on the Hub is downloaded.
    """
    if str(path).startswith(hub.SCHEME):
        return hub.download(str(path))
    named = path == Path(path.name) and path.name in installed() and not path.exists()
    return installed_file(path.name) if named else path


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
        config, params, about = read_directory(path)
    else:
        kind = _kind(path)
        if kind == "torch":
            from dgunet_jax.convert import torch_file

            return _official(path, torch_file.read_torch(path), num_stages, weights)
        arrays, metadata = safetensors_file.read_safetensors(path)
        if "config" not in metadata:
            return _official(path, arrays, num_stages, weights)
        config = config_from_json(metadata["config"])
        params, about = params_of(config, arrays), about_of(metadata)
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
    return Checkpoint(path, DGUNet(config), variables, notes=notes, about=about)


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
    if start.startswith(LFS_POINTER):
        raise UserError(IS_POINTER)
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
    read = found.model, found.variables, found.stages_assumed, found.weights
    return Checkpoint(path, *read, notes)


def save(
    path: PathLike,
    model: DGUNet,
    variables: Mapping[str, Any],
    about: About | None = None,
    push_to: str | None = None,
) -> None:
    """Write a network to a `.safetensors` file, an official-style `.pth` file, or a checkpoint
    directory.

    A file takes its place only when it is whole, and so does a directory, which must not exist yet,
    or be empty. A `.pth` file holds the weights under `state_dict`, where the released test scripts
    look for them, and the number of stages beside them. A network's own operator is not saved;
    after loading, `model.clone(operator=Φ)` gives it back.

    Args:
      about: what is known of the training; a `.pth` file does not hold it.
      push_to: OWNER/NAME of a repository on the Hugging Face Hub that a safetensors file is copied
        to when it is written (`hub.push`).

    Raises:
      UserError: another ending; a network the format cannot hold, or variables of another one; a
        place that cannot be written.
    """
    path = as_path(path)
    if push_to is not None and path.suffix.lower() != _SAFETENSORS:
        raise UserError(f"{path}: what is pushed to {push_to} must be a {_SAFETENSORS} file")
    if "params" not in variables:
        raise UserError(f"{path}: the variables have no 'params'")
    check_params(model.config, variables["params"])
    ending = path.suffix.lower()
    if ending == _SAFETENSORS:
        flat = flatten(variables["params"])
        arrays = {key: np.asarray(leaf) for key, leaf in flat.items()}
        told = {"config": config_to_json(model.config)}
        told |= {} if about is None else {"about": about.to_json()}
        safetensors_file.write_safetensors(path, arrays, told)
    elif ending in _TORCH_SUFFIXES:
        from dgunet_jax.convert import pytorch, torch_file

        state_dict = pytorch.to_pytorch(model, variables)
        torch_file.write_torch(path, state_dict, {"num_stages": model.config.num_stages})
    elif ending:
        endings = ", ".join((_SAFETENSORS, *_TORCH_SUFFIXES))
        raise UserError(f"{path}: the ending must be one of {endings}, or none for a directory")
    else:
        write_directory(path, model.config, variables["params"], about)
    if push_to is not None:
        hub.push(path, push_to, about or About())


def check_params(config: DGUNetConfig, params: Mapping[str, Any]) -> None:
    """Raise one UserError that names every missing, unexpected or wrongly shaped array."""
    if problems := mismatches(flatten(params), shapes_of(config)):
        raise wrong("array", problems)
