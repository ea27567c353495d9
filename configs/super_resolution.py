"""A small DGUNet doubles both sides of photographs that were reduced bicubically (noise of σ 2).

Everything but the degradation is as in `known_blur.py`. Estimates have the size of the clean image;
`dgunet restore --operator downsample:2` restores photographs with it.

Command: python -m dgunet_jax.main --config configs/super_resolution.py --workdir runs/double \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    recipe = runpy.run_path(str(Path(__file__).with_name("known_blur.py")))["recipe"]
    return recipe("downsample(2) | gaussian(2)")
