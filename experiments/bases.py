"""The settings that experiments change one of."""

import dataclasses
from collections.abc import Callable

from configs import gaussian_color, quickstart
from dgunet_jax import DGUNetConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, from_config_dict

STEPS = 300


def small() -> TrainConfig:
    """A run of one to five minutes on one core, on the quickstart's photographs.

    What decides after so few steps need not decide at the end of a full training.
    """
    data = from_config_dict(dict(quickstart.get_config())).data
    return TrainConfig(
        model=DGUNetConfig(width=8, growth=4, last_growth=4, num_stages=5),
        data=dataclasses.replace(data, patch=48, batch=4),
        optimizer=OptimizerConfig(
            steps=STEPS,
            schedule="cosine",
            warmup_steps=STEPS // 20,
            learning_rate=2e-3,
            final_learning_rate=2e-5,
            loss="charbonnier_edge",
        ),
        report=ReportConfig(
            progress_every=100, evaluate_every=STEPS, pictures_every=STEPS, save_every=STEPS // 4
        ),
    )


def full() -> TrainConfig:
    """The recipe of `configs/gaussian_color.py`: each run takes what is said there."""
    return from_config_dict(dict(gaussian_color.get_config()))


BASES: dict[str, Callable[[], TrainConfig]] = {"small": small, "full": full}
