"""One set of weights for all middle stages, or one for each?

python -m experiments.sharing --output runs/experiments

Small scale, 100 s a run on one core. One seed of three lost 2 dB in the last two stages; the two
others show no difference.

| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |
|---|---|---|---|---|---|---|
| shared (base) | 169,300 | 6.5 | 8.15 ± 0.15 | 8.00, 8.31, 8.15 |  |  |
| per stage | 358,844 | 6.5 | 7.44 ± 1.34 | 5.90, 8.26, 8.16 | -0.71 ± 1.20 | -2.11, -0.05, +0.01 |
"""

import sys

from experiments.command import main
from experiments.factor import Experiment

EXPERIMENT = Experiment(
    name="sharing",
    title="Weights of the middle stages",
    variants={
        "shared": {"model.share_middle": True},
        "per stage": {"model.share_middle": False},
    },
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
