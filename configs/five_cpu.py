"""A small DGUNet learns five degradations on one core, most of them simulated.

Haze, rain and low light are drawn on BSDS500's clean pictures, noise of σ 25 too; blur is that of
twenty pairs of REDS. 604,864 parameters. Ours, on real pairs: rain 25.24 dB (input 24.01), blur
27.61 (27.03), low light 16.89 (7.81), haze 17.67 (16.13): docs/results.md. Time: 49 minutes of one
core beside other programs, measured.

Command: python -m dgunet_jax.main --config configs/five_cpu.py --workdir runs/five
"""

from ml_collections import ConfigDict

from dgunet_jax import DGUNetConfig
from dgunet_jax.data.config import DataConfig, SourceConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

SOURCES = (
    SourceConfig("haze", "BSDS500", "CBSD68", degradation="haze(0.3..2)"),
    SourceConfig("rain", "BSDS500", "CBSD68", degradation="rain(0.02..0.3, 8..40)"),
    SourceConfig("noise", "BSDS500", "CBSD68", degradation="gaussian(25) | round"),
    SourceConfig("blur", "REDS_small/train", "REDS_small/test"),
    SourceConfig(
        "low_light",
        "BSDS500",
        "CBSD68",
        degradation="low_light(0.01..0.2) | gaussian(0..4) | round",
    ),
)


def get_config() -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=DGUNetConfig(width=16, growth=8, last_growth=8, num_stages=4),
            data=DataConfig(
                sources=SOURCES, patch=96, batch=4, validation_crop=256, validation_limit=8
            ),
            optimizer=OptimizerConfig(
                steps=900,
                schedule="cosine",
                warmup_steps=100,
                learning_rate=2e-3,
                final_learning_rate=1e-6,
                clip_norm=1.0,
                average=0.99,
                loss="charbonnier_edge",
                loss_stages="last",
            ),
            report=ReportConfig(
                progress_every=50, evaluate_every=300, pictures_every=900, save_every=100
            ),
        )
    )
