"""Official state dicts to variables of the network, and back."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.convert import state_dict, table
from dgunet_jax.convert.table import check_official
from dgunet_jax.convert.torch_pickle import kind
from dgunet_jax.models.config import VARIANTS, DGUNetConfig, told_otherwise
from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.parameters import (
    abstract_params,
    flatten,
    mismatches,
    shapes_of,
    unflatten,
    wrong,
)
from dgunet_jax.system.errors import UserError, listed, named, printable

DEFAULT_STAGES = 7
"""Stages of a DGUNet whose checkpoint does not tell: all released ones have seven."""

_TO_HERE = {table.CONV: (2, 3, 1, 0), table.UPSAMPLE: (2, 3, 0, 1)}
_TO_OFFICIAL = {table.CONV: (3, 2, 0, 1), table.UPSAMPLE: (2, 3, 0, 1)}


@dataclasses.dataclass(frozen=True)
class Official:
    """A released network, as it was read from what PyTorch saved.

    Attributes:
      model, variables: the network.
      stages_assumed: whether K is neither in what was saved nor given.
      weights: the keys that lead to the weights, joined by dots; "" where there are no others.
      notes: what a user should know of how it was read, each one line.
    """

    model: DGUNet
    variables: dict[str, Any]
    stages_assumed: bool
    weights: str
    notes: tuple[str, ...]


def from_pytorch(
    state_dict: Mapping[str, Any], num_stages: int | None = None, weights: str | None = None
) -> tuple[DGUNet, dict[str, Any]]:
    """Return the network and variables of an official state dict; sizes are read off the tensors.

    Args:
      state_dict: official names to arrays (numpy, or PyTorch tensors), or whatever a training
        script has wrapped around them: prefixes such as `module.`, dicts with an optimizer.
      num_stages: K of a DGUNet, whose shared middle stages leave no trace in the file; 7 if not
        given. Where a file does tell (DGUNet+), it must agree.
      weights: which of several sets of weights, by the keys that lead to it, joined by dots. Not
        given, an average (`ema`) is preferred.

    Returns:
      (model, variables). Float16 and bfloat16 weights become float32. Compressive-sensing weights
      give the whole-image network, which on a single 32×32 block is the block-by-block one;
      `blockwise=True` in its config treats each block of a larger image alone.

    Raises:
      UserError: in one line every missing, unexpected, wrongly shaped or contradictory tensor.
    """

    def arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {key: _as_numpy(value) for key, value in tensors.items()}

    official = read_official(state_dict, num_stages, weights, arrays)
    return official.model, official.variables


def read_official(
    saved: Any,
    num_stages: int | None,
    weights: str | None,
    arrays: Callable[[Mapping[str, Any]], dict[str, np.ndarray]],
) -> Official:
    """Read the network in what PyTorch saved; `from_pytorch` says more.

    Args:
      saved: a state dict, or what holds one.
      num_stages, weights: as `from_pytorch` takes them.
      arrays: gives the values of tensors. It is called when names and shapes are known to be right.

    Raises:
      UserError: in one line, what is wrong.
    """

    def values(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {key: _weight(key, array) for key, array in arrays(tensors).items()}

    def equal(a: state_dict.Weights, b: state_dict.Weights) -> bool:
        if a.tensors is b.tensors:
            return True
        try:
            first, second = (values(_checked(each.tensors, num_stages)[1]) for each in (a, b))
        except UserError:
            return False
        return first.keys() == second.keys() and all(
            np.array_equal(array, second[key], equal_nan=True) for key, array in first.items()
        )

    chosen, notes = state_dict.choose(saved, weights, equal)
    stated = saved.get("num_stages") if isinstance(saved, Mapping) else None
    stated = stated if type(stated) is int else None
    config, tensors, left_out = _checked(
        chosen.tensors, stated if num_stages is None else num_stages
    )
    if left_out := [*left_out, *chosen.beside]:
        notes.append(f"left out, as no weights: {listed([named(key) for key in left_out], 5)}")
    assumed = config.share_middle and stated is None and num_stages is None
    if assumed:
        notes.append(
            f"does not tell its number of stages; {DEFAULT_STAGES} are assumed (else:"
            " --num-stages K)"
        )
    if config.share_middle and stated not in (None, config.num_stages):
        notes.append(told_otherwise(stated, config.num_stages))

    entries, arrays_ = table.rows(config), values(tensors)
    if problems := [
        f"{named(copy)} differs from {row.key}, which the network ties it to"
        for row in entries
        if row.path is not None
        for copy in row.copies
        if not np.array_equal(arrays_[copy], arrays_[row.key], equal_nan=True)
    ]:
        raise wrong("tensor", problems)
    stacked: dict[str, list[np.ndarray]] = {}
    for row in entries:
        if row.path is not None:
            stacked.setdefault(row.path, []).append(_to_here(arrays_[row.key], row.layout))
    indexed = {row.path for row in entries if row.index is not None}
    params = {
        path: jnp.asarray(np.stack(parts) if path in indexed else parts[0])
        for path, parts in stacked.items()
    }
    variables = {"params": unflatten(params)}
    return Official(DGUNet(config), variables, assumed, chosen.name, tuple(notes))


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


def recognise(arrays: Mapping[str, Any], num_stages: int | None = None) -> DGUNetConfig:
    """Return the network that a state dict belongs to, by its names and shapes.

    Raises:
      UserError: no released network has such names, or `num_stages` contradicts them.
    """
    family = table.family(arrays)
    if family is None:
        some = ", ".join(map(named, list(arrays)[:3])) or "none"
        raise UserError(f"not a DGUNet checkpoint: no released model has such names ({some}, …)")
    sensing, found = "Phi" in arrays, None
    if family == "cs_plus":
        found = 2 + _count(arrays, r"body\.\d+\.r")
    elif family == "derain_plus":
        found = _count(arrays, r"r\d+")
    if found is not None and num_stages not in (None, found):
        raise UserError(f"the checkpoint has {found} stages; it cannot be read with {num_stages}")

    def size(key: str, axis: int, rank: int = 4) -> int:
        if key not in arrays:
            raise UserError(f"{key} is missing; the network's sizes are read off it")
        if not state_dict.is_array(arrays[key]):
            raise UserError(f"{key} is {kind(arrays[key])}, not an array")
        shape = arrays[key].shape
        if len(shape) != rank:
            raise UserError(f"{key} has shape {tuple(shape)}; the network's sizes are read off it")
        return shape[axis]

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
    params = shapes_of(config)
    shapes = {}
    for row in table.rows(config):
        shape = row.shape
        if row.path is not None:
            shape = params[row.path][0 if row.index is None else 1 :]
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


def _checked(
    tensors: Mapping[str, Any], num_stages: int | None
) -> tuple[DGUNetConfig, dict[str, Any], list[str]]:
    """The network that tensors belong to, its tensors, and the names of what else there is.

    Raises:
      UserError: names everything that is wrong with names, shapes and types.
    """
    config = recognise(tensors, num_stages)
    shapes = official_shapes(config)
    left_out = [
        key
        for key, value in tensors.items()
        if key not in shapes and not state_dict.is_weight(key, value)
    ]
    kept = {key: value for key, value in tensors.items() if key not in set(left_out)}
    strange = [key for key in shapes if key in kept and not state_dict.is_array(kept[key])]
    problems = [f"{key} is {kind(kept[key])}, not an array" for key in strange]
    for key in strange:
        del kept[key], shapes[key]
    if problems := problems + mismatches(kept, shapes):
        raise wrong("tensor", problems)
    return config, kept, left_out


def _count(arrays, pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in arrays)


def _as_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a PyTorch tensor; NumPy has no bfloat16
        value = value.detach().cpu()
        value = value.numpy() if str(value.dtype) != "torch.bfloat16" else value.float().numpy()
    return np.asarray(value)


def _weight(key: str, array: np.ndarray) -> np.ndarray:
    """A weight in float32 or wider."""
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


def describe(path: Path, config: DGUNetConfig, *, assumed: bool = False) -> str:
    """Several lines: the network, what it may be for, sizes, stages, parameters, unused weights.

    Args:
      path: the checkpoint.
      config: the network's.
      assumed: whether the number of stages is neither in the checkpoint nor given.
    """
    weights = "one set of weights" if config.share_middle else "weights of their own"
    lines = [
        f"{printable(path)}: {_family(config)}",
        f"possible tasks: {', '.join(possible_tasks(config)) or 'none of the released models'}",
        f"sizes: width {config.width}, growth {config.growth}, last growth {config.last_growth}",
        f"stages: {config.num_stages}{' (assumed; see --num-stages)' if assumed else ''}; the"
        f" {config.num_middle} middle ones have {weights}",
    ]
    if config.measurements:
        lines.append(f"sampling: {config.measurements} measurements of 1024 pixels")
    try:
        counts = count_parameters(config)
    except UserError:
        total = sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))
        return "\n".join([*lines, f"parameters: {total:,}"])
    lines.append(
        f"parameters: {counts.used:,} used + {counts.unused:,} unused"
        f" = {counts.used + counts.unused:,} in the official model"
    )
    if counts.unused_keys:
        lines.append(f"unused, left out: {', '.join(counts.unused_keys)}")
    return "\n".join(lines)


def possible_tasks(config: DGUNetConfig) -> list[str]:
    """The released variants that have the sizes and choices of `config`."""

    def signature(config):
        free = (config.measurements > 0, config.channels, config.share_middle, config.merge)
        return *free, config.width, config.growth, config.last_growth, config.degradation

    return [name for name, row in VARIANTS.items() if signature(row) == signature(config)]


def _family(config: DGUNetConfig) -> str:
    try:
        check_official(config)
    except UserError:
        return "a DGUNet with choices of its own"
    name = "DGUNet" if config.share_middle else "DGUNet+"
    return f"{name} for compressive sensing" if config.measurements else name
