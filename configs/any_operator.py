"""A small DGUNet restores photographs of many known degradations: one prior for all operators.

Every batch draws a kind of operator, and every image an operator of this kind and σ from 0 to 25:
blur by motion or by a Gaussian, missing pixels, reductions by 2 to 4, one in 2 to 6 columns of the
spectrum, and sampled blocks. What they have in common, the proximal networks, is learned; each
stage is told σ (`noise_input`). The network is that of `known_blur.py`.

Command: python -m dgunet_jax.main --config configs/any_operator.py --workdir runs/any_operator \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

OPERATORS = (
    "motion_blur(17, 3..17)",
    "gaussian_blur(17, 0.5..3)",
    "mask(0.05..0.3)",
    "mask(0.3..1)",
    "color_mask(0.2..1)",
    "mask(1)",
    "downsample(2)",
    "downsample(3)",
    "downsample(4)",
    "fourier(2..6)",
    "sampling(0.1)",
    "sampling(0.25)",
)


def get_config() -> ConfigDict:
    recipe = runpy.run_path(str(Path(__file__).with_name("known_blur.py")))["recipe"]
    config = recipe("; ".join(f"{each} | gaussian(0..25)" for each in OPERATORS), steps=1500)
    config.data.patch = 96  # a multiple of the factors and of a sampled block
    config.data.batch = 4
    config.data.validation_limit = 18  # two pictures of each
    config.report.evaluate_every = config.report.pictures_every = 500
    return config
