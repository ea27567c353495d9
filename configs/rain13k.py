"""DGUNet for deraining, as published: the 13,712 pairs of Rain13K.

Published: Test100 30.32 dB / 0.899, Rain100H 30.66 / 0.891, Rain100L 37.42 / 0.969, Test2800 33.68
/ 0.938, Test1200 33.23 / 0.920, of luma (DGUNet); 30.86 / 0.907, 31.06 / 0.897, 38.25 / 0.974,
34.01 / 0.942, 33.08 / 0.916 (DGUNet+, `configs/rain13k.py:plus`).

As compiled for eight CPU devices (`--mode dry_run`): 3,633,112 parameters, 26,266 GFLOP a step,
2.1 GB on each device (DGUNet+: 12,176,107 parameters, 26,286 GFLOP, 2.3 GB), stages being
recomputed: 17 GB (18 GB) on one GPU, which has room for them up to 80 GB without
(`--config.model.remat=False`). Products are TF32 there; the scan stays rolled, which compiles in a
fraction of the time.
Time: about 3 hours on eight A100, 8 on one H100; not measured, but the 214,250 steps' work at 40 %
of the 156 and 495 TFLOP/s of each.

Command: python -m dgunet_jax.main --config configs/rain13k.py --workdir runs/rain13k \
    --config.data.train=Rain13K/train --config.data.validation=Rain13K/test/Rain100L
"""

import dataclasses

from ml_collections import ConfigDict

from dgunet_jax import VARIANTS
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

PAIRS, BATCH = 13712, 16


def get_config(variant: str = "") -> ConfigDict:
    name = {"": "derain", "plus": "derain_plus"}[variant]
    every_five_epochs = 5 * PAIRS // BATCH
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(VARIANTS[name], remat=True),
            data=DataConfig(
                train="Rain13K/train",
                validation="Rain13K/test/Rain100L",
                patch=256,
                batch=BATCH,
                validation_crop=128,
                workers=8,
            ),
            optimizer=OptimizerConfig(
                epochs=250, schedule="published", learning_rate=2e-4, loss="charbonnier_edge"
            ),
            report=ReportConfig(evaluate_every=every_five_epochs, save_every=every_five_epochs),
        )
    )
