"""A small DGUNet fills photographs in which half of the pixels are missing (noise of σ 2).

Everything but the degradation is as in `known_blur.py`. Which pixels are missing is drawn for every
image, and the network is given it.

Command: python -m dgunet_jax.main --config configs/inpainting.py --workdir runs/inpainting \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    recipe = runpy.run_path(str(Path(__file__).with_name("known_blur.py")))["recipe"]
    return recipe("mask(0.5) | gaussian(2)")
