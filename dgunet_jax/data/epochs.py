"""Which epoch a step belongs to.

Samples are counted through the whole run, `batch` to a step: sample i belongs to epoch
1 + i // (pictures · samples_per_picture). Batches run on across the end of an epoch.
"""

from dgunet_jax.data.config import DataConfig


def samples_per_epoch(pictures: int, config: DataConfig) -> int:
    """Patches that an epoch takes.

    Args:
      pictures: how many pictures or pairs there are.
      config: patches of each.
    """
    return pictures * config.samples_per_picture


def epoch_of_step(step: int, pictures: int, config: DataConfig) -> int:
    """The epoch, counted from 1, of the first sample of a step, counted from 0."""
    return 1 + step * config.batch // samples_per_epoch(pictures, config)
