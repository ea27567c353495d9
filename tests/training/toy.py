"""A run of seconds, for killing it."""

from ml_collections import ConfigDict

from dgunet_jax import DGUNetConfig
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict


def get_config() -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=DGUNetConfig(width=4, growth=2, last_growth=2, num_stages=2),
            data=DataConfig(
                train="photographs:astronaut,rocket",
                validation="photographs:chelsea",
                degradation="gaussian(25)",
                patch=16,
                batch=2,
                validation_crop=32,
            ),
            optimizer=OptimizerConfig(steps=200, learning_rate=1e-3, average=0.9),
            report=ReportConfig(
                progress_every=10, evaluate_every=40, pictures_every=1000, save_every=20
            ),
        )
    )
