"""DGUNet for motion deblurring, as published: GoPro's 2,103 training pairs.

Published: GoPro 32.71 dB / 0.960, HIDE 30.96 / 0.940 (DGUNet); 33.17 / 0.963, 31.40 / 0.944
(DGUNet+, `configs/gopro.py:plus`).

As compiled for eight CPU devices (`--mode dry_run`): 17,216,312 parameters, 107,805 GFLOP a step,
4.2 GB on each device (DGUNet+: 69,572,915 parameters, 137,873 GFLOP, 5.7 GB). So one GPU of 80 GB
holds the batch, 34 GB (45 GB), only because stages are recomputed: without that they take three
times as much. Products are TF32 there; the scan stays rolled, which compiles in a fraction of the
time.
Time: about 24 hours (DGUNet+: 30) on eight A100, 60 (77) on one H100; not measured, but the 394,313
steps' work at 40 % of the 156 and 495 TFLOP/s of each. The authors' log has 247 s an epoch on four
V100, 206 hours for all.

Command: python -m dgunet_jax.main --config configs/gopro.py --workdir runs/gopro \
    --config.data.train=GoPro/train --config.data.validation=GoPro/test
"""

import dataclasses

from ml_collections import ConfigDict

from dgunet_jax import VARIANTS
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

PAIRS, BATCH = 2103, 16


def get_config(variant: str = "") -> ConfigDict:
    name = {"": "deblur", "plus": "deblur_plus"}[variant]
    every_ten_epochs = 10 * PAIRS // BATCH
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(VARIANTS[name], remat=True),
            data=DataConfig(
                train="GoPro/train",
                validation="GoPro/test",
                patch=256,
                batch=BATCH,
                saturation=True,
                validation_crop=256,
                workers=8,
            ),
            optimizer=OptimizerConfig(
                epochs=3000, schedule="published", learning_rate=1e-4, loss="charbonnier_edge"
            ),
            report=ReportConfig(evaluate_every=every_ten_epochs, save_every=every_ten_epochs),
        )
    )
