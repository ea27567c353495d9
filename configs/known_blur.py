"""A small DGUNet restores photographs of known blur and noise: motion over 5 to 15 pixels, σ 2.

Every image is blurred by a kernel of its own, with a circular border, which the network is given.
x₀ is ten steps of conjugate gradients, and every stage takes five on the data. Made for BSDS500's
400 training and test pictures (481×321), which share none with CBSD68. 584,157 parameters.
`inpainting.py`, `super_resolution.py` and `mri.py` differ in the degradation alone, and
`any_operator.py` is for all of them.

Command: python -m dgunet_jax.main --config configs/known_blur.py --workdir runs/known_blur \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

from ml_collections import ConfigDict

from dgunet_jax import DGUNetConfig
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict


def recipe(degradation: str, steps: int = 450) -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=DGUNetConfig(
                width=16,
                growth=8,
                last_growth=8,
                num_stages=5,
                degradation="known",
                last_adds="estimate",
                noise_input=True,
                start_steps=10,
                implicit_steps=5,
            ),
            data=DataConfig(
                train="BSDS500",
                validation="CBSD68",
                degradation=degradation,
                patch=64,
                batch=8,
                samples_per_picture=16,
                validation_crop=256,
                validation_limit=20,
            ),
            optimizer=OptimizerConfig(
                steps=steps,
                schedule="cosine",
                warmup_steps=100,
                learning_rate=2e-3,
                final_learning_rate=1e-6,
                clip_norm=1.0,
                average=0.99,
                loss="charbonnier_edge",
            ),
            report=ReportConfig(
                progress_every=20, evaluate_every=450, pictures_every=450, save_every=100
            ),
        )
    )


def get_config() -> ConfigDict:
    return recipe("motion_blur(17, 5..15) | gaussian(2)", steps=900)
