"""What does the gradient step contribute, and who gives its operators?

python -m experiments.gradient --output runs/experiments

Small scale, 70 to 100 s a run on one core. Without gradient steps a last stage that adds to y
fails, and one that adds to its estimate loses 0.3 dB. The operators of denoising are the identity,
so this says nothing of blur or rain.

| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |
|---|---|---|---|---|---|---|
| learned (base) | 169,300 | 6.5 | 8.15 ± 0.15 | 8.00, 8.31, 8.15 |  |  |
| tied | 158,731 | 6.8 | 7.97 ± 0.12 | 7.84, 8.06, 8.02 | -0.18 ± 0.07 | -0.17, -0.25, -0.12 |
| identity | 148,161 | 4.7 | 8.06 ± 0.14 | 7.91, 8.07, 8.19 | -0.10 ± 0.14 | -0.09, -0.24, +0.04 |
| none | 148,158 | 4.7 | 1.44 ± 1.02 | 0.41, 2.46, 1.44 | -6.72 ± 0.87 | -7.59, -5.85, -6.71 |
| none, to x | 148,158 | 4.7 | 7.85 ± 0.07 | 7.77, 7.92, 7.87 | -0.30 ± 0.08 | -0.23, -0.39, -0.28 |
"""

import sys

from experiments.command import main
from experiments.factor import Experiment

# Without gradient steps only the first stage sees y. A last stage that adds its correction to y
# would have to know the noise in it, so `none` has a companion that adds it to its estimate.
EXPERIMENT = Experiment(
    name="gradient",
    title="Gradient step",
    variants={
        **{name: {"model.degradation": name} for name in ("learned", "tied", "identity", "none")},
        "none, to x": {"model.degradation": "none", "model.last_adds": "estimate"},
    },
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
