"""A small DGUNet restores pictures of one in four columns of their spectrum (noise of σ 2).

Everything but the degradation is as in `known_blur.py`. Which columns are measured is drawn for
every image, but for 8 % around frequency zero. Channels are measured one by one, so that three
slices can take the place of the colours.

Command: python -m dgunet_jax.main --config configs/mri.py --workdir runs/mri \
    --config.data.train=BSDS500 --config.data.validation=CBSD68
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    recipe = runpy.run_path(str(Path(__file__).with_name("known_blur.py")))["recipe"]
    return recipe("fourier(4) | gaussian(2)")
