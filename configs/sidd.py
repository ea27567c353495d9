"""DGUNet for the noise of phones' cameras, as published: SIDD-Medium's 320 pairs (sRGB).

Published: SIDD 39.88 dB / 0.959, DND 40.04 / 0.956 (DGUNet); 39.91 / 0.959, 40.12 / 0.957 (DGUNet+,
`configs/sidd.py:plus`), most likely with the ×8 self-ensemble.

The pairs are cut into 300 random crops each by `dgunet prepare sidd`: 96,000, 6,000 steps an epoch.
From epoch 6 on the images of a batch are mixed. Batches are validated on three times an epoch. The
cosine is that of 40 epochs more than there are.

Compiled for eight devices the step is that of `gaussian_color.py`: 17,216,312 parameters, 26,951
GFLOP, 1.4 GB on each device, stages being recomputed. Time: about 8 hours on eight A100; not
measured, but the 480,000 steps' work at 40 % of the 156 TFLOP/s of each.

Command: python -m dgunet_jax.main --config configs/sidd.py --workdir runs/sidd \
    --config.data.train=SIDD_crops/train --config.data.validation=SIDD_crops/validation
"""

import dataclasses

from ml_collections import ConfigDict

from dgunet_jax import VARIANTS
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

EPOCHS = 80
STEPS_PER_EPOCH = 6000  # 320 pairs, 300 crops of each, 16 in a batch


def get_config(variant: str = "") -> ConfigDict:
    name = {"": "denoise", "plus": "denoise_plus"}[variant]
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(VARIANTS[name], remat=True),
            data=DataConfig(
                train="SIDD_crops/train",
                validation="SIDD_crops/validation",
                patch=128,
                batch=16,
                mixup_from_epoch=6,
                validation_crop=256,
                workers=8,
            ),
            optimizer=OptimizerConfig(
                epochs=EPOCHS,
                schedule="published",
                cosine_epochs=EPOCHS - 3 + 40,
                learning_rate=1e-4,
                weight_decay=1e-8,
                loss="clamped_charbonnier",
            ),
            report=ReportConfig(evaluate_every=STEPS_PER_EPOCH // 3, save_every=STEPS_PER_EPOCH),
        )
    )
