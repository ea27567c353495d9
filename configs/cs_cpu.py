"""A small DGUNet learns compressive sensing of 25 % in two steps, as `cs.py`, on two cores.

Step 1 learns matrix and network on single blocks, step 2 (`:step2`) takes its weights to crops of
16 blocks, where the network sees across their borders. Made for Train400_gray (BSD's 400 pictures
of 180×180 in grey). 782,109 parameters, of them 262,144 of the matrix.

Command: python -m dgunet_jax.main --config configs/cs_cpu.py --workdir runs/cs1 \
    --config.data.train=Train400_gray --config.data.validation=Set11
    python -m dgunet_jax.main --config configs/cs_cpu.py:step2 --workdir runs/cs2 \
    --config.data.train=Train400_gray --config.data.validation=Set11 --config.init_from=runs/cs1
"""

import dataclasses

from ml_collections import ConfigDict

from dgunet_jax import VARIANTS
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict


def get_config(variant: str = "") -> ConfigDict:
    second = {"": False, "step2": True}[variant]
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(
                VARIANTS["cs"], width=16, growth=8, last_growth=8, num_stages=5, ratio=25
            ),
            data=DataConfig(
                train="Train400_gray",
                validation="Set11",
                degradation="clean",
                color="luma",
                symmetries="flip_transpose",
                patch=128 if second else 32,  # 16 blocks or one
                batch=1 if second else 16,
                samples_per_picture=200,
            ),
            optimizer=OptimizerConfig(
                steps=400 if second else 1200,
                schedule="cosine",
                warmup_steps=50 if second else 100,
                learning_rate=3e-4 if second else 1e-3,
                final_learning_rate=1e-6,
                clip_norm=1.0,
                average=0.999,
                loss="clamped_squares",
            ),
            report=ReportConfig(
                progress_every=50, evaluate_every=400, pictures_every=400, save_every=100
            ),
        )
    )
