"""A small DGUNet restores photographs of known blur and noise: motion over 5 to 15 pixels, σ 2.

Every image is blurred by a kernel of its own, with a circular border, which the network is given:
its gradient step is x − ρ/‖Φ‖² Φᵀ(Φx − y). Made for BSDS500's 400 training and test pictures
(481×321). `configs/known_blur.py:inpainting` sees half of the pixels, `:super_resolution` bicubic
halves of both sides, `:mri` one in four columns of the 2-D spectrum, all with σ 2. Not trained to
the end yet. 583,725 parameters.

Command: python -m dgunet_jax.main --config configs/known_blur.py --workdir runs/known_blur \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

from ml_collections import ConfigDict

from dgunet_jax import DGUNetConfig
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

DEGRADATIONS = {
    "blur": "motion_blur(17, 5..15) | gaussian(2)",
    "inpainting": "mask(0.5) | gaussian(2)",
    "super_resolution": "downsample(2) | gaussian(2)",
    "mri": "fourier(4) | gaussian(2)",
}


def get_config(task: str = "blur") -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=DGUNetConfig(
                width=16,
                growth=8,
                last_growth=8,
                num_stages=5,
                degradation="known",
                last_adds="estimate",
            ),
            data=DataConfig(
                train="BSDS500",
                validation="CBSD68",
                degradation=DEGRADATIONS[task],
                patch=64,
                batch=8,
                samples_per_picture=16,
                validation_crop=256,
                validation_limit=20,
            ),
            optimizer=OptimizerConfig(
                steps=1500,
                schedule="cosine",
                warmup_steps=100,
                learning_rate=1e-3,
                final_learning_rate=1e-6,
                clip_norm=1.0,
                average=0.999,
                loss="charbonnier_edge",
            ),
            report=ReportConfig(
                progress_every=20, evaluate_every=500, pictures_every=500, save_every=100
            ),
        )
    )
