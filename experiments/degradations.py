"""Draw every degradation that training simulates, on one of scikit-image's photographs.

python -m experiments.degradations docs/degradations.jpg
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.sources import photographs
from dgunet_jax.data.transforms import unit_range

TEXTS = (
    *("clean", "gaussian(25)", "camera(0.01)", "jpeg(10)"),
    *("shake(15)", "defocus(4)", "soften(2)", "rain(0.08, 25)"),
    *(
        "haze(2)",
        "low_light(0.06)",
        "low_light(0.06) | camera(0.003)",
        "shake(9) | gaussian(10) | jpeg(40)",
    ),
)
SIDE, COLUMNS = 160, 4


def main() -> None:
    image = unit_range(photographs(["coffee"]).read(0)[0])[120 : 120 + SIDE, 240 : 240 + SIDE]
    figure = Figure(figsize=(10, 8), layout="compressed")
    axes = figure.subplots(len(TEXTS) // COLUMNS, COLUMNS)
    for ax, text in zip(axes.flat, TEXTS, strict=True):
        ax.imshow(Degradation.parse(text).apply(image, np.random.default_rng(1)).clip(0, 1))
        ax.set_title(text, fontsize=8)
        ax.axis("off")
    figure.savefig(Path(sys.argv[1]), dpi=90)


if __name__ == "__main__":
    main()
