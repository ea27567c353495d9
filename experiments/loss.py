"""Should every stage be supervised, or only the last?

python -m experiments.loss --output runs/experiments

Small scale, 100 s a run on one core. After 300 steps the last alone is better with every seed, but
its other estimates are no pictures any more (9 to 11 dB worse than the input).

| variant | parameters | GFLOP a step | gain, dB | each seed | minus base | each seed |
|---|---|---|---|---|---|---|
| all (base) | 169,300 | 6.5 | 8.15 ± 0.15 | 8.00, 8.31, 8.15 |  |  |
| last | 169,300 | 6.5 | 8.66 ± 0.09 | 8.56, 8.74, 8.68 | +0.51 ± 0.07 | +0.56, +0.43, +0.53 |
"""

import sys

from experiments.command import main
from experiments.factor import Experiment

EXPERIMENT = Experiment(
    name="loss",
    title="Stages in the loss",
    variants={name: {"optimizer.loss_stages": name} for name in ("all", "last")},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
