"""One DGUNet for five degradations: haze, rain, noise of σ 25, motion blur and low light.

What others report for a DGUNet so trained: SOTS 24.78 dB, Rain100L 36.62, CBSD68 31.10, GoPro
27.25, LOL 21.87, 28.32 on average (`dgunet evaluate --dataset five`). No recipe of it is published.
The sets and how often their pictures are taken are those of AdaIR's public training code (Cui et
al., ICLR 2025): RESIDE's 72,135 outdoor pictures once, Rain100L's 200 pairs 120 times, BSD400 and
WED's 5,144 pictures three times, GoPro's 2,103 pairs five times, LOL's 485 pairs 20 times. Loss and
schedule are ours. Not trained at full size yet.

Compiled for eight devices the step is that of `gaussian_color.py`: 17,216,312 parameters, 26,951
GFLOP, 1.4 GB on each device, stages being recomputed. Time: about 8 hours on eight A100; not
measured, but the 500,000 steps' work at 40 % of the 156 TFLOP/s of each.

Command: python -m dgunet_jax.main --config configs/five_degradations.py --workdir runs/five \
    --config.data.sources.haze.train=RESIDE-OTS --config.data.sources.haze.validation=SOTS/outdoor
"""

import dataclasses

from ml_collections import ConfigDict

from dgunet_jax import VARIANTS
from dgunet_jax.data.config import DataConfig, SourceConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

SOURCES = (
    SourceConfig("haze", "RESIDE-OTS", "SOTS/outdoor", weight=72135),
    SourceConfig("rain", "Rain100L/train", "Rain100L/test", weight=120 * 200),
    SourceConfig(
        "noise",
        "BSD400+WED",
        "CBSD68/original_png",
        weight=3 * 5144,
        degradation="gaussian(25) | round",
    ),
    SourceConfig("blur", "GoPro/train", "GoPro/test", weight=5 * 2103),
    SourceConfig("low_light", "LOL/our485", "LOL/eval15", weight=20 * 485),
)


def get_config() -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=dataclasses.replace(VARIANTS["deblur"], remat=True),
            data=DataConfig(
                sources=SOURCES,
                patch=128,
                batch=16,
                validation_crop=256,
                validation_limit=100,
                workers=8,
            ),
            optimizer=OptimizerConfig(
                steps=500_000,
                warmup_steps=5000,
                learning_rate=2e-4,
                average=0.999,
                loss="charbonnier_edge",
            ),
            report=ReportConfig(evaluate_every=10000, save_every=5000),
        )
    )
