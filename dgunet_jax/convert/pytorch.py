"""State dicts of the released PyTorch models to this project's variables, and back."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dgunet_jax.convert import table
from dgunet_jax.convert.mismatches import mismatches
from dgunet_jax.convert.torch_files import without_prefix
from dgunet_jax.errors import UserError
from dgunet_jax.models.config import VARIANTS, DGUNetConfig
from dgunet_jax.models.network import DGUNet, abstract_params, flatten, unflatten

DEFAULT_STAGES = 7
"""Stages of a DGUNet whose checkpoint does not tell: all released ones have seven."""

_TO_HERE = {table.CONV: (2, 3, 1, 0), table.UPSAMPLE: (2, 3, 0, 1)}
_TO_OFFICIAL = {table.CONV: (3, 2, 0, 1), table.UPSAMPLE: (2, 3, 0, 1)}


def from_pytorch(
    state_dict: Mapping[str, Any], num_stages: int | None = None
) -> tuple[DGUNet, dict[str, Any]]:
    """The network and variables of an official state dict; sizes are read off the tensors.

    Args:
      state_dict: official names to arrays (numpy, or PyTorch tensors), with or without `module.`.
      num_stages: K of a DGUNet, whose shared middle stages leave no trace in the file; 7 if not
        given. Where a file does tell (DGUNet+), it must agree.

    Returns:
      (model, variables). Float16 and bfloat16 weights become float32. Compressive-sensing weights
      give the whole-image network, which on a single 32×32 block is the block-by-block one;
      `blockwise=True` in its config treats each block of a larger image alone.

    Raises:
      UserError: in one line every missing, unexpected, wrongly shaped or contradictory tensor.
    """
    arrays = {key: _as_numpy(key, value) for key, value in without_prefix(state_dict).items()}
    config = recognise(arrays, num_stages)
    entries, shapes = table.rows(config), official_shapes(config)
    _check(arrays, entries, shapes)

    stacked: dict[str, list[np.ndarray]] = {}
    for row in entries:
        if row.path is not None:
            stacked.setdefault(row.path, []).append(_to_here(arrays[row.key], row.layout))
    indexed = {row.path for row in entries if row.index is not None}
    params = {
        path: jnp.asarray(np.stack(parts) if path in indexed else parts[0])
        for path, parts in stacked.items()
    }
    return DGUNet(config), {"params": unflatten(params)}


def to_pytorch(model: DGUNet, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every tensor of the official state dict: names, OIHW layouts, unused ones zero, tied ones
    copied.

    Layouts are linear, so `variables` may as well hold gradients; a tied tensor's is then the sum
    over its uses.

    Raises:
      UserError: the network is not one the official code can build, or `variables` do not belong to
        it.
    """
    params = flatten(variables["params"])
    shapes = official_shapes(model.config)
    result = {}
    for row in table.rows(model.config):
        if row.path is None:
            array = np.zeros(row.shape, np.float32)
        else:
            if row.path not in params:
                raise UserError(f"the variables have no {row.path}")
            leaf = params[row.path]
            array = _to_official(np.asarray(leaf if row.index is None else leaf[row.index]), row)
            if array.shape != shapes[row.key]:
                raise UserError(
                    f"{row.path} makes {row.key} {array.shape}; the model has {shapes[row.key]}"
                )
        for key in (row.key, *row.copies):
            result[key] = array.copy()
    return result


def recognise(arrays: Mapping[str, np.ndarray], num_stages: int | None = None) -> DGUNetConfig:
    """The network that a state dict belongs to, by its names and shapes.

    Raises:
      UserError: no released network has such names, or `num_stages` contradicts them.
    """
    sensing = "Phi" in arrays
    if "stage_model.r" in arrays or "basic.r1" in arrays:
        family, found = "cs" if sensing else "derain", None
    elif "body.0.r" in arrays:
        family, found = "cs_plus", 2 + _count(arrays, r"body\.\d+\.r")
    elif "r1" in arrays and "stage2_encoder.body.0.conv_1.weight" in arrays:
        family, found = "derain_plus", _count(arrays, r"r\d+")
    else:
        some = ", ".join(list(arrays)[:3]) or "none"
        raise UserError(f"not a DGUNet checkpoint: no released model has such names ({some}, …)")
    if found is not None and num_stages not in (None, found):
        raise UserError(f"the checkpoint has {found} stages; it cannot be read with {num_stages}")

    def size(key: str, axis: int, rank: int = 4) -> int:
        if key not in arrays or arrays[key].ndim != rank:
            there = f"has shape {arrays[key].shape}" if key in arrays else "is missing"
            raise UserError(f"{key} {there}; the network's sizes are read off it")
        return arrays[key].shape[axis]

    shallow = "shallow_feat1.0.weight"
    width = size(shallow, 0)
    last = "concat_final.weight" if sensing else "concat67.weight"
    has_growth = VARIANTS[family].last_merge == "concat"
    return dataclasses.replace(
        VARIANTS[family],
        channels=size(shallow, 1),
        width=width,
        growth=size("stage1_encoder.body.0.conv_1.weight", 0) - width,
        last_growth=size(last, 0) - width if has_growth else 0,
        num_stages=next(k for k in (found, num_stages, DEFAULT_STAGES) if k is not None),
        measurements=size("Phi", 0, rank=2) if sensing else 0,
    )


def official_shapes(config: DGUNetConfig) -> dict[str, tuple[int, ...]]:
    """Official name to official shape, tied and unused ones included."""
    params = flatten(abstract_params(config))
    shapes = {}
    for row in table.rows(config):
        shape = row.shape
        if row.path is not None:
            shape = params[row.path].shape[0 if row.index is None else 1 :]
            if row.layout == table.SCALAR:
                shape = (1,)
            elif row.layout in _TO_OFFICIAL:
                shape = tuple(shape[axis] for axis in _TO_OFFICIAL[row.layout])
        for key in (row.key, *row.copies):
            shapes[key] = tuple(shape)
    return shapes


@dataclasses.dataclass(frozen=True)
class Counts:
    """Parameters of an official checkpoint, a tied tensor counted once.

    Attributes:
      used: in tensors the network computes with.
      unused: in tensors it never reads.
      unused_keys: their names.
    """

    used: int
    unused: int
    unused_keys: tuple[str, ...]


def count_parameters(config: DGUNetConfig) -> Counts:
    shapes, entries = official_shapes(config), table.rows(config)
    size = {row.key: int(np.prod(shapes[row.key])) for row in entries}
    unused = [row for row in entries if row.path is None]
    return Counts(
        used=sum(size[row.key] for row in entries if row.path is not None),
        unused=sum(size[row.key] for row in unused),
        unused_keys=tuple(key for row in unused for key in (row.key, *row.copies)),
    )


def _check(arrays, entries, shapes) -> None:
    """Raises one error that names everything that is wrong."""
    problems = mismatches(arrays, shapes)
    if not problems:
        problems = [
            f"{copy} differs from {row.key}, which the network ties it to"
            for row in entries
            if row.path is not None
            for copy in row.copies
            if not np.array_equal(arrays[copy], arrays[row.key], equal_nan=True)
        ]
    if problems:
        raise UserError(f"{len(problems)} wrong tensors: {'; '.join(problems)}")


def _count(arrays, pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in arrays)


def _as_numpy(key: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a PyTorch tensor; NumPy has no bfloat16
        value = value.detach().cpu()
        value = value.numpy() if str(value.dtype) != "torch.bfloat16" else value.float().numpy()
    array = np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(f"{key} is {array.dtype}; weights are floating point")
    return array if array.dtype.itemsize >= 4 else array.astype(np.float32)


def _to_here(array: np.ndarray, layout: str) -> np.ndarray:
    if layout == table.SCALAR:
        return array.reshape(())
    return array.transpose(_TO_HERE[layout]) if layout in _TO_HERE else array


def _to_official(array: np.ndarray, row: table.Row) -> np.ndarray:
    if row.layout == table.SCALAR:
        return array.reshape(1)
    return array.transpose(_TO_OFFICIAL[row.layout]) if row.layout in _TO_OFFICIAL else array
