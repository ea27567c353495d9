"""A small DGUNet learns motion deblurring on two cores, in twenty minutes.

Made for a folder of twenty pairs, REDS frames of 320×180 pixels, and five more of the same scenes
(docs/datasets.md says which). Ours: 28.46 dB RGB PSNR, the blurred ones having 27.03. As compiled
for four devices (`--mode dry_run`): 604,864 parameters, 25 GFLOP a step, 82 MB on each. Time: 20
minutes beside another program, measured.

Command: python -m dgunet_jax.main --config configs/deblur_cpu.py --workdir runs/deblur \
    --config.data.train=REDS_small/train --config.data.validation=REDS_small/test
"""

from ml_collections import ConfigDict

from dgunet_jax import DGUNetConfig
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict


def get_config() -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=DGUNetConfig(width=16, growth=8, last_growth=8, num_stages=4),
            data=DataConfig(
                train="REDS_small/train",
                validation="REDS_small/test",
                saturation=True,
                patch=64,
                batch=4,
            ),
            optimizer=OptimizerConfig(
                steps=2000,
                schedule="cosine",
                warmup_steps=100,
                learning_rate=1e-3,
                final_learning_rate=1e-6,
                average=0.998,
                loss="charbonnier_edge",
            ),
            report=ReportConfig(
                progress_every=50, evaluate_every=500, pictures_every=1000, save_every=250
            ),
        )
    )
