"""DGUNet for Gaussian colour denoising at σ 25, on any folder of clean pictures.

No recipe of the authors is published for it; this is ours, with the patches, loss and schedule of
their real-noise recipe. Score: not trained at full size yet. What others report for a DGUNet
trained on five degradations is 31.10 dB on CBSD68. DGUNet+: `configs/gaussian_color.py:plus`.

As compiled for eight devices (`--mode dry_run`): 17,216,312 parameters, 26,951 GFLOP a step, 1.4 GB
on each device, stages being recomputed. Time: about 10 hours on eight A100 for BSD400 and WED's
4,744 pictures; not measured, but the 643,000 steps' work at 40 % of the 156 TFLOP/s of each.

Command: python -m dgunet_jax.main --config configs/gaussian_color.py --workdir runs/gaussian \
    --config.data.train=BSD400+WED --config.data.validation=CBSD68/original_png
"""

import dataclasses

from ml_collections import ConfigDict

from dgunet_jax import VARIANTS
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict


def get_config(variant: str = "") -> ConfigDict:
    name = {"": "denoise", "plus": "denoise_plus"}[variant]
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(VARIANTS[name], remat=True),
            data=DataConfig(
                train="BSD400+WED",
                validation="CBSD68/original_png",
                degradation="gaussian(25)",
                patch=128,
                batch=16,
                samples_per_picture=100,
                workers=8,
            ),
            optimizer=OptimizerConfig(
                epochs=20,
                schedule="published",
                cosine_epochs=57,
                learning_rate=1e-4,
                average=0.999,
                loss="clamped_charbonnier",
            ),
            report=ReportConfig(evaluate_every=10000, save_every=5000),
        )
    )
