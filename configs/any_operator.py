"""A small DGUNet restores photographs of many known degradations: one prior for all operators.

Every batch draws a kind of operator, and every image an operator of this kind and σ from 0 to 25:
blur by motion or by a Gaussian, missing pixels, reductions by 2 to 4, one in 2 to 6 columns of the
spectrum, and sampled blocks. What they have in common, the proximal networks, is learned; each
stage is told σ (`noise_input`). x₀ is three steps of conjugate gradients. 584,157 parameters. Not
trained to the end yet: after 1,000 steps total variation is still better.

Command: python -m dgunet_jax.main --config configs/any_operator.py --workdir runs/any_operator \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

from ml_collections import ConfigDict

from dgunet_jax import DGUNetConfig
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

OPERATORS = (
    "motion_blur(17, 3..17)",
    "gaussian_blur(17, 0.5..3)",
    "mask(0.2..1)",
    "downsample(2)",
    "downsample(3)",
    "downsample(4)",
    "fourier(2..6)",
    "sampling(0.1)",
    "sampling(0.25)",
)


def get_config() -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=DGUNetConfig(
                width=16,
                growth=8,
                last_growth=8,
                num_stages=5,
                degradation="known",
                last_adds="estimate",
                noise_input=True,
                start_steps=3,
            ),
            data=DataConfig(
                train="BSDS500",
                validation="CBSD68",
                degradation="; ".join(f"{each} | gaussian(0..25)" for each in OPERATORS),
                patch=96,
                batch=4,
                samples_per_picture=16,
                validation_crop=256,
                validation_limit=18,
            ),
            optimizer=OptimizerConfig(
                steps=2200,
                schedule="cosine",
                warmup_steps=100,
                learning_rate=1e-3,
                final_learning_rate=1e-6,
                clip_norm=1.0,
                average=0.999,
                loss="charbonnier_edge",
            ),
            report=ReportConfig(
                progress_every=50, evaluate_every=1100, pictures_every=2200, save_every=200
            ),
        )
    )
