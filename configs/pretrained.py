"""The networks that come with dgunet_jax: one size, and a degradation for each.

`configs/pretrained.py` is a blind denoiser of Gaussian noise with σ from 0 to 55, as float and as
8-bit files; `:camera` removes the noise of cameras, `:deblock` the artefacts of JPEG with qualities
from 10 to 100. `:camera` sees patches enlarged up to three times, as pictures of cameras are less
sharp, pixel by pixel, than BSDS500's. Made for the training and test pictures of BSDS500 (481×321),
which share none with CBSD68. `dgunet_jax/pretrained/README.md` says how far each was trained.
1,408,912 parameters.

Command: python -m dgunet_jax.main --config configs/pretrained.py --workdir runs/denoise \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

from ml_collections import ConfigDict

from dgunet_jax import DGUNetConfig
from dgunet_jax.data.config import DataConfig
from dgunet_jax.training.config import OptimizerConfig, ReportConfig, TrainConfig, to_config_dict

DEGRADATIONS = {
    "denoise": "gaussian(0..55); gaussian(0..55) | round; gaussian(0..15) | round",
    "camera": (
        "camera(0.0001..0.015) | round; snapshot(0.0001..0.015, 0..1) | round;"
        " snapshot(0.0001..0.015, 0..0.6) | jpeg(85..100)"
    ),
    "deblock": "jpeg(10..90); jpeg(10..100)",
}


def get_config(task: str = "denoise") -> ConfigDict:
    return to_config_dict(
        TrainConfig(
            model=DGUNetConfig(width=32, growth=8, last_growth=8, num_stages=3),
            data=DataConfig(
                train="BSDS500",
                validation="CBSD68",
                degradation=DEGRADATIONS[task],
                patch=128,
                enlarge=3.0 if task == "camera" else 1.0,
                batch=32,
                samples_per_picture=16,
                validation_crop=256,
                validation_limit=16,
                workers=4,
            ),
            optimizer=OptimizerConfig(
                steps=4000,
                schedule="cosine",
                warmup_steps=200,
                learning_rate=1e-3,
                final_learning_rate=1e-6,
                clip_norm=1.0,
                average=0.999,
                loss="charbonnier_edge",
            ),
            report=ReportConfig(
                progress_every=50, evaluate_every=2000, pictures_every=10000, save_every=500
            ),
        )
    )
