"""Saving and loading networks, in this project's formats and the official one.

A checkpoint directory holds two Orbax items: `params`, the weights, and `model`, a JSON file with
the network's configuration and a checksum of every leaf. A run's working directory has one such
directory for each saved step under `checkpoints/`.
"""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.convert import pytorch, safetensors_files, torch_files
from dgunet_jax.convert.mismatches import mismatches
from dgunet_jax.errors import UserError, one_line, reason
from dgunet_jax.models.config import DGUNetConfig
from dgunet_jax.models.network import DGUNet, abstract_params, flatten, unflatten

PathLike = Path | str
Params = dict[str, Any]

RUN_FOLDER = "checkpoints"
_TORCH_SUFFIXES = (".pth", ".pt", ".pkl")
_SAFETENSORS = ".safetensors"


def load(path: PathLike, num_stages: int | None = None) -> tuple[DGUNet, dict[str, Any]]:
    """A network and its variables from any checkpoint.

    Args:
      path: an official `.pth`, `.pt` or `.pkl` file (read without PyTorch); a `.safetensors` file,
        ours or with official names; a checkpoint directory; a run's working directory, which means
        its best checkpoint.
      num_stages: K of an official DGUNet file, which does not tell; 7 if not given. Elsewhere it
        must agree, unless the middle stages share weights: then it may be any number.

    Returns:
      (model, variables).

    Raises:
      UserError: in one line, what is wrong with the file.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or directory")
    try:
        if path.is_dir():
            config, params = read_directory(path)
        elif path.suffix == _SAFETENSORS:
            arrays, metadata = safetensors_files.read_safetensors(path)
            if "config" not in metadata:
                return pytorch.from_pytorch(arrays, num_stages)
            config = config_from_json(metadata["config"])
            params = unflatten(arrays)
        else:
            return pytorch.from_pytorch(torch_files.read_torch(path), num_stages)
        check_params(config, params)
    except UserError as error:
        message = str(error)
        raise UserError(
            message if message.startswith(str(path)) else f"{path}: {message}"
        ) from error
    if num_stages is not None and num_stages != config.num_stages:
        if not config.share_middle or (config.num_stages == 2 and num_stages > 2):
            raise UserError(
                f"{path}: has {config.num_stages} stages; it cannot be read with {num_stages}"
            )
        try:
            config = dataclasses.replace(config, num_stages=num_stages)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        if num_stages == 2:
            params = {name: weights for name, weights in params.items() if name != "middle"}
    return DGUNet(config), {"params": jax.tree.map(jnp.asarray, params)}


def tells_stages(path: PathLike, config: DGUNetConfig) -> bool:
    """Whether a checkpoint says how many stages its network has.

    A file with the official names of a DGUNet, whose middle stages share weights, does not.

    Raises:
      UserError: it cannot be read.
    """
    path = Path(path)
    if path.is_dir() or not config.share_middle:
        return True
    return path.suffix == _SAFETENSORS and "config" in safetensors_files.read_metadata(path)


def save(path: PathLike, model: DGUNet, variables: Mapping[str, Any]) -> None:
    """Writes a network to a `.safetensors` file, an official-style `.pth` file, or a checkpoint
    directory.

    A file takes its place only when it is whole. A directory must not exist yet, or be empty. A
    network's own operator is not saved; after loading, `model.clone(operator=Φ)` gives it back.

    Raises:
      UserError: another ending; a network the format cannot hold, or variables of another one; a
        place that cannot be written.
    """
    path = Path(path)
    if "params" not in variables:
        raise UserError(f"{path}: the variables have no 'params'")
    check_params(model.config, variables["params"])
    if path.suffix == _SAFETENSORS:
        flat = flatten(variables["params"])
        arrays = {key: np.asarray(leaf) for key, leaf in flat.items()}
        safetensors_files.write_safetensors(path, arrays, {"config": config_to_json(model.config)})
    elif path.suffix in _TORCH_SUFFIXES:
        torch_files.write_torch(path, pytorch.to_pytorch(model, variables))
    elif path.suffix:
        endings = ", ".join((_SAFETENSORS, *_TORCH_SUFFIXES))
        raise UserError(f"{path}: the ending must be one of {endings}, or none for a directory")
    else:
        write_directory(path, model.config, variables["params"])


def config_to_json(config: DGUNetConfig) -> str:
    return json.dumps(dataclasses.asdict(config))


def config_from_json(text: str) -> DGUNetConfig:
    """The configuration; unknown names are an error of one line."""
    try:
        values = json.loads(text)
        values["memory_scales"] = tuple(values["memory_scales"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"its configuration cannot be read: {error}") from error
    known = {field.name for field in dataclasses.fields(DGUNetConfig)}
    if unknown := sorted(set(values) - known):
        raise UserError(f"its configuration has unknown entries: {', '.join(unknown)}")
    return DGUNetConfig(**values)


def check_params(config: DGUNetConfig, params: Mapping[str, Any]) -> None:
    """Raises one UserError that names every missing, unexpected or wrongly shaped leaf."""
    shapes = {key: leaf.shape for key, leaf in flatten(abstract_params(config)).items()}
    if problems := mismatches(flatten(params), shapes):
        raise UserError(f"{len(problems)} wrong leaves: {'; '.join(problems)}")


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
    import orbax.checkpoint as ocp

    if path.is_file() or (path.exists() and any(path.iterdir())):
        raise UserError(f"{path}: exists already; a checkpoint directory must be new")
    params = jax.tree.map(np.asarray, dict(params))
    items = ocp.args.Composite(
        params=ocp.args.StandardSave(params), model=ocp.args.JsonSave(describe(config, params))
    )
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(path.absolute(), items, force=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error


def read_directory(path: Path) -> tuple[DGUNetConfig, Params]:
    """Configuration and weights of a checkpoint directory, or of the best one of a run."""
    import orbax.checkpoint as ocp

    if not (path / "params").is_dir():
        path = best_of_run(path)
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            model = checkpointer.restore(
                path.absolute(), ocp.args.Composite(model=ocp.args.JsonRestore())
            )["model"]
            config, expected = config_from_json(model["config"]), model["checksums"]
            types = model["types"]  # Orbax would change them without a word
            flat = flatten(abstract_params(config))
            target = unflatten({k: np.zeros(leaf.shape, types[k]) for k, leaf in flat.items()})
            params = checkpointer.restore(
                path.absolute(), ocp.args.Composite(params=ocp.args.StandardRestore(target))
            )["params"]
    except UserError:
        raise
    except Exception as error:  # Orbax raises errors of many kinds on a damaged checkpoint
        why = one_line(error)[:200]
        raise UserError(f"{path}: is a damaged checkpoint or none: {why}") from error
    if damaged := [key for key, value in checksums(params).items() if value != expected.get(key)]:
        raise UserError(f"{path}: is damaged; wrong checksums: {', '.join(damaged)}")
    return config, params


def best_of_run(workdir: Path) -> Path:
    """The directory of a run's best checkpoint; the newest one if none was evaluated."""
    steps = steps_of_run(workdir / RUN_FOLDER)
    if not steps:
        raise UserError(f"{workdir}: is neither a checkpoint nor a run's working directory")

    def rank(step: Path) -> tuple[float, int]:
        try:
            return score_of(step), int(step.name)
        except ValueError:
            return -np.inf, int(step.name)

    return max(steps, key=rank)


def steps_of_run(folder: Path) -> list[Path]:
    """The directories of a run's checkpoints in their folder, which need not exist."""
    if not folder.is_dir():
        return []
    return sorted(step for step in folder.iterdir() if step.name.isdigit() and step.is_dir())


def score_of(step: Path) -> float:
    """The score in dB that a checkpoint of a run is ranked by.

    Raises:
      ValueError: its file is damaged, or missing.
    """
    metrics = step / "metrics" / "metrics"
    try:
        return float(json.loads(metrics.read_text())["psnr"])
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"{metrics.name}: {one_line(error)}") from error
