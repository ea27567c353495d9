"""DGUNet for Gaussian colour denoising, on any folder of clean pictures.

No recipe of the authors is published for it; this is ours, with the patches, loss and schedule of
their real-noise recipe. σ is 25; `:several` is for 15, 25 and 50, `:blind` for all from 0 to 55,
and `:plus`, `:plus_several` and `:plus_blind` are DGUNet+. Score: not trained at full size yet.

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

NOISE = {
    "": "gaussian(25)",
    "several": "gaussian(15); gaussian(25); gaussian(50)",
    "blind": "gaussian(0..55)",
}


def get_config(variant: str = "") -> ConfigDict:
    plus, _, rest = variant.partition("_") if variant.startswith("plus") else ("", "", variant)
    if plus not in ("", "plus") or rest not in NOISE:
        raise KeyError(variant)
    name = "denoise_plus" if plus else "denoise"
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(VARIANTS[name], remat=True),
            data=DataConfig(
                train="BSD400+WED",
                validation="CBSD68/original_png",
                degradation=NOISE[rest],
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
