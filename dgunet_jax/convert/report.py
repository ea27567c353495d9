"""What a checkpoint is, in words."""

from pathlib import Path

import jax

from dgunet_jax.convert.pytorch import count_parameters
from dgunet_jax.convert.table import check_official
from dgunet_jax.models.config import VARIANTS, DGUNetConfig
from dgunet_jax.models.network import abstract_params
from dgunet_jax.system.errors import UserError, printable


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
