"""DGUNet for compressive sensing, as published: 25 % of each 32×32 block, and a learned matrix.

Step 1 (`configs/cs.py`) trains on blocks, step 2 (`:step2`) on crops of several blocks, beginning
with the weights of step 1 (`--config.init_from=RUN`); DGUNet+ is `:plus` and `:plus_step2`. Other
ratios: `--config.model.ratio=10`. A matrix that is given (`--config.matrix=FILE` or `orthonormal`)
stays as it is with `--noconfig.optimizer.learn_matrix`.

Published (Set11, 25 %, both steps): 36.11 dB / 0.9611 (DGUNet), 36.18 / 0.9616 (DGUNet+), on the
1200 pictures of DIV2K and BSD400, each 200 times an epoch. The crop of step 2 is not known: the
released script's default of 32 makes it step 1 once more; 128 is what its test takes.

Command: python -m dgunet_jax.main --config configs/cs.py --workdir runs/cs \
    --config.data.train=DIV2K+BSD400 --config.data.validation=Set11
"""

import dataclasses

from ml_collections import ConfigDict

from dgunet_jax import VARIANTS
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

PICTURES, BATCH, TIMES = 1200, 32, 200


def get_config(variant: str = "") -> ConfigDict:
    name, second = {
        "": ("cs", False),
        "step2": ("cs", True),
        "plus": ("cs_plus", False),
        "plus_step2": ("cs_plus", True),
    }[variant]
    epoch = PICTURES * TIMES // BATCH
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(VARIANTS[name], ratio=25),
            data=DataConfig(
                train="DIV2K+BSD400",
                validation="Set11",
                degradation="clean",
                color="studio_luma",
                symmetries="flip_transpose",
                patch=128 if second else 32,
                batch=BATCH,
                samples_per_picture=TIMES,
                workers=8,
            ),
            optimizer=OptimizerConfig(
                epochs=100 if second else 400,
                schedule="halved" if second else "constant",
                halve_epochs=60,
                learning_rate=1e-4,
                loss="clamped_squares",
            ),
            report=ReportConfig(evaluate_every=epoch, save_every=epoch),
        )
    )
